// SPDX-License-Identifier: Apache-2.0
//! `hooks`: which programs run when (config.md, POSIX-platform hooks).

use oci_spec::runtime::Spec;

use super::problem::Problem;
use super::propagation::absolute;
use super::step::{Action, Hook, HookKind, Step};

/// Hooks of all six kinds.
#[derive(Default)]
pub(super) struct Hooks {
    pub prestart: Vec<Hook>,
    pub create_runtime: Vec<Hook>,
    pub create_container: Vec<Hook>,
    pub start_container: Vec<Hook>,
    pub poststart: Vec<Hook>,
    pub poststop: Vec<Hook>,
}

impl Hooks {
    /// Of a configuration.
    pub fn of(spec: &Spec, problems: &mut Vec<Problem>) -> Self {
        let Some(hooks) = spec.hooks() else { return Self::default() };
        let mut list = |kind: HookKind, hooks: &Option<Vec<oci_spec::runtime::Hook>>| {
            let hooks = hooks.as_deref().unwrap_or(&[]);
            hooks.iter().enumerate().map(|(n, hook)| plan_hook(kind, n, hook, problems)).collect()
        };
        let prestart = hooks.prestart();
        Self {
            prestart: list(HookKind::Prestart, prestart),
            create_runtime: list(HookKind::CreateRuntime, hooks.create_runtime()),
            create_container: list(HookKind::CreateContainer, hooks.create_container()),
            start_container: list(HookKind::StartContainer, hooks.start_container()),
            poststart: list(HookKind::Poststart, hooks.poststart()),
            poststop: list(HookKind::Poststop, hooks.poststop()),
        }
    }

    /// The step of those that init runs before it enters the root.
    pub fn of_init(&self) -> Option<Step> {
        let hooks = &self.create_container;
        let action = || Action::RunHooks { kind: HookKind::CreateContainer, hooks: hooks.clone() };
        (!hooks.is_empty()).then(|| Step::new("hooks.createContainer", action()))
    }
}

fn plan_hook(kind: HookKind, n: usize, hook: &oci_spec::runtime::Hook, problems: &mut Vec<Problem>) -> Hook {
    let at = |leaf: &str| format!("hooks.{}[{n}].{leaf}", kind.name());
    if !hook.path().is_absolute() {
        problems.push(
            Problem::new(at("path"), format!("{:?} is not absolute", hook.path().display().to_string()))
                .hint("give the program's whole path"),
        );
    }
    let timeout = hook.timeout().and_then(|seconds| match u64::try_from(seconds) {
        Ok(seconds) if seconds > 0 => Some(seconds),
        _ => {
            problems.push(Problem::new(at("timeout"), format!("{seconds} is not above zero")));
            None
        }
    });
    let args = match hook.args() {
        Some(args) if !args.is_empty() => args.clone(),
        _ => vec![hook.path().to_string_lossy().into_owned()],
    };
    Hook { path: absolute(hook.path()), args, env: hook.env().clone().unwrap_or_default(), timeout }
}
