// SPDX-License-Identifier: Apache-2.0
//! explain: the plan that create would run, as text. The same value, so it cannot lie.
//!
//! ```text
//! heading                               who acts, and what is in sight then
//!      property                         what the parent does
//!   1  property                         what init does: the steps, numbered as they are walked
//! ```
//!
//! The headings stand where a reader's questions are: what happens before pivot_root, what when the
//! rights go, what is left for start. A line that is too long goes on below; nothing is cut off.

use std::fmt::Write;

use crate::context::Context;
use crate::create::{self, CreateRequest};
use crate::error::Result;
use crate::plan::annotations::HookOutput;
use crate::plan::cgroup::Place;
use crate::plan::mounts::{Opener, What};
use crate::plan::namespaces::{Kind, Range};
use crate::plan::notify::ORIGIN as NOTIFY;
use crate::plan::resources::Devices;
use crate::plan::sched::Scheduling;
use crate::plan::step::{Action, Hook, HookKind, Step};
use crate::plan::{Plan, Source};

/// Longest line.
const WIDTH: usize = 120;
/// Columns of the number of a step.
const NUMBER: usize = 4;
/// Columns of the property.
const PROPERTY: usize = 29;
/// Where what is done begins.
const TEXT: usize = NUMBER + 2 + PROPERTY + 1;

/// Reads a bundle and tells, in order, what create would do with it.
pub fn explain(context: &Context, request: &CreateRequest) -> Result<String> {
    let (bundle, _, plan) =
        create::plan(context, request).map_err(|e| e.within(format!("explain {}", request.id)))?;
    Ok(text(&plan, &bundle.config.display().to_string()))
}

/// The plan as text, lines of at most 120 columns.
pub fn text(plan: &Plan, config: &str) -> String {
    let mut out = Out::default();
    out.wrapped(&format!("container {:?}, from {config}", plan.id), 2);
    parent_before(plan, &mut out);
    out.heading("clone3: init is born and waits");
    out.line("linux.namespaces", &born_in(plan));
    parent_after(plan, &mut out);
    init(plan, &mut out);
    if !plan.poststop.is_empty() {
        out.heading("delete, when the container is gone");
        out.hooks(HookKind::Poststop, &plan.poststop);
    }
    if !plan.warnings.is_empty() {
        out.heading("warnings");
        for warning in &plan.warnings {
            out.line(&warning.property, &warning.says);
        }
    }
    out.text
}

fn parent_before(plan: &Plan, out: &mut Out) {
    out.heading("the parent, before clone3");
    let HookOutput { stdout, stderr } = &plan.annotations.hooks;
    for path in [stdout, stderr].into_iter().flatten().filter(|_| plan.has_hooks()) {
        out.line("annotations", &format!("open {} for the output of hooks", path.display()));
    }
    for source in &plan.sources {
        if source.origin == NOTIFY {
            out.line(NOTIFY, &format!("make {}", source.path.display()));
        }
        if source.opener == Opener::Parent {
            out.line(&source.origin, &format!("open {} as a detached tree", tree(source)));
        }
    }
    match &plan.place {
        None if plan.scope.is_some() => {
            out.line("linux.cgroupsPath", "make no cgroup yet: systemd wants a process for it");
        }
        None => out.line("default", "stay in the caller's cgroups: none is made"),
        Some(Place::FromRoot(path)) => {
            out.line("linux.cgroupsPath", &format!("make the cgroup /{path}"));
        }
        Some(Place::FromCaller(path)) => {
            out.line("linux.cgroupsPath", &format!("make the cgroup {path}, by the caller's own"));
        }
    }
    if plan.scope.is_none() {
        writes(plan, false, out);
    }
    if let Some(rdt) = &plan.rdt {
        out.line("linux.intelRdt", &format!("make or take {rdt}"));
    }
    if plan.visit_time {
        let offsets = &plan.namespaces.time_offsets;
        let with = if offsets.is_empty() { "" } else { ", with the offsets " };
        let text = format!("make the time namespace that init is born in{with}{}", offsets.join(", "));
        out.line("linux.namespaces", &text);
    }
    for (kind, path, n) in &plan.namespaces.joined {
        out.line(
            &format!("linux.namespaces[{n}]"),
            &format!("step into the {} namespace {}, and back after clone3", kind.name(), path.display()),
        );
    }
}

fn writes(plan: &Plan, late: bool, out: &mut Out) {
    for write in plan.limits.writes.iter().filter(|w| w.late == late) {
        out.line(&write.property, &format!("write {} to {}", write.value, write.file));
    }
}

fn born_in(plan: &Plan) -> String {
    let here = |kind: &&Kind| match kind {
        Kind::Cgroup => plan.clone_cgroup,
        Kind::Time => false,
        Kind::Network => !plan.network_beside,
        _ => true,
    };
    let made: Vec<&str> = plan.namespaces.new.iter().filter(here).map(|kind| kind.name()).collect();
    match made.is_empty() {
        true => "makes no new namespace".to_owned(),
        false => format!("new namespaces: {}", made.join(" ")),
    }
}

fn parent_after(plan: &Plan, out: &mut Out) {
    out.heading("the parent, while init waits");
    let namespaces = &plan.namespaces;
    for (name, map) in [("uidMappings", &namespaces.uid_map), ("gidMappings", &namespaces.gid_map)] {
        if !map.is_empty() {
            out.line(&format!("linux.{name}"), &format!("map {}", ranges(map)));
        }
    }
    for device in &namespaces.net_devices {
        let text = format!("move the network device {} to the container, as {}", device.host, device.name);
        out.line(&format!("linux.netDevices.{}", device.host), &text);
    }
    if let Some(score) = plan.oom_score_adj {
        out.line("process.oomScoreAdj", &format!("set the OOM score adjustment to {score}"));
    }
    if plan.opener == Opener::ParentBelowInit {
        out.line("root.path", &format!("open {} below init's root", plan.rootfs.display()));
    }
    for source in plan.sources.iter().filter(|s| s.opener.sends()) {
        out.line(&source.origin, &format!("open {} below init's root", tree(source)));
    }
    if let Some(scope) = &plan.scope {
        let whose = if scope.user { "the user's systemd" } else { "systemd" };
        let text = format!("have {whose} make {} in {}, around init", scope.name, scope.slice);
        out.line("linux.cgroupsPath", &text);
        for property in &scope.properties {
            out.line(&property.origin, &format!("with {}={}", property.name, property.value));
        }
        writes(plan, false, out);
    }
    writes(plan, true, out);
    if plan.place.is_some() || plan.scope.is_some() {
        let how = match &plan.limits.devices {
            Devices::Open => "allow every device".to_owned(),
            Devices::Lines(lines) => {
                format!("put the device rules in force: {} lines for devices.deny and .allow", lines.len())
            }
            Devices::Program(program) => {
                format!("put the device rules in force: a program of {} instructions", program.0.len())
            }
        };
        out.line("linux.resources.devices", &how);
        if let Some(owner) = plan.cgroup_owner {
            out.line("linux.cgroupsPath", &format!("give the cgroup to the host's user {owner}"));
        }
    }
    if plan.rdt.is_some() {
        out.line("linux.intelRdt", "put init into its class of service");
    }
    out.line("default", "tell init to go on");
    if plan.network_beside {
        out.line("linux.namespaces", "make the network namespace while init mounts");
    }
}

/// The steps, with a heading wherever something changes for good.
fn init(plan: &Plan, out: &mut Out) {
    let (enter, how) = entrance(&plan.steps);
    out.heading(&format!("init, before {how}: the host's files are in sight"));
    let mut rights = true;
    for (n, step) in plan.steps.iter().enumerate() {
        match step.action {
            Action::DropBounding { .. } if rights => {
                rights = false;
                out.heading("init gives up its rights");
            }
            Action::AwaitStart => out.heading("init is ready: the container is created"),
            _ => {}
        }
        out.step(n, step, &format!("{}{}", step.action, aside(plan, step)));
        match step.action {
            Action::AwaitRuntimeHooks => {
                out.hooks(HookKind::Prestart, &plan.prestart);
                out.hooks(HookKind::CreateRuntime, &plan.create_runtime);
            }
            Action::AwaitStart => {
                scheduling(&plan.scheduling, out);
                if let Some(path) = &plan.annotations.pidfd_receiver {
                    out.line("annotations", &format!("the parent sends init's pidfd to {}", path.display()));
                }
            }
            _ => {}
        }
        match step.action {
            Action::AwaitStart if n + 1 < plan.steps.len() => out.heading("start, which lets init go on"),
            _ => {}
        }
        if Some(n) == enter {
            out.heading(&format!("init, after {how}: only the container's files are left"));
        }
    }
    out.hooks(HookKind::Poststart, &plan.poststart);
    if plan.notify {
        out.line(NOTIFY, "wait until the payload is ready, and tell the caller's supervisor");
    }
}

/// What the parent sets of a process that waits.
fn scheduling(scheduling: &Scheduling, out: &mut Out) {
    if let Some(scheduler) = &scheduling.scheduler {
        out.line("process.scheduler", &format!("the parent schedules it by {scheduler}"));
    }
    if let Some(priority) = scheduling.io_priority {
        out.line("process.ioPriority", &format!("the parent sets its I/O priority: {priority}"));
    }
}

/// The step after which "/" is the container's, and what it is called.
fn entrance(steps: &[Step]) -> (Option<usize>, &'static str) {
    let enters =
        |s: &Step| matches!(s.action, Action::PivotRoot { .. } | Action::MoveRoot | Action::Chroot { .. });
    let at = steps.iter().position(enters);
    let how = match at.map(|n| &steps[n].action) {
        Some(Action::PivotRoot { .. }) | None => "pivot_root",
        Some(_) => "chroot",
    };
    (at, how)
}

/// What the plan knows of a step beyond its own words.
fn aside(plan: &Plan, step: &Step) -> String {
    let words = match &step.action {
        Action::Mount(mount) => match mount.what {
            What::Bind { opener: Opener::Parent, .. } => ", from the parent's tree",
            What::Bind { opener: Opener::ParentBelowInit, .. } => ", opened by the parent, cloned here",
            What::Bind { opener: Opener::ParentInsideInit, .. } => ", cloned and mapped by the parent",
            What::Bind { opener: Opener::Init, .. } => ", opened here",
            _ => "",
        },
        Action::LoadSeccomp { .. } => {
            match plan.steps.iter().any(|step| matches!(step.action, Action::SetNoNewPrivs)) {
                true => ": last, as no_new_privs allows",
                false => ": now, as it takes rights without no_new_privs",
            }
        }
        Action::Exec => {
            let args = plan.payload.iter().flat_map(|payload| &payload.args);
            return args.map(|arg| format!(" {:?}", arg.to_string_lossy())).collect();
        }
        _ => "",
    };
    words.to_owned()
}

fn tree(source: &Source) -> String {
    let all = if source.recursive { " and what is mounted below it" } else { "" };
    format!("{}{all}", source.path.display())
}

fn ranges(map: &[Range]) -> String {
    let range = |r: &Range| match r.size {
        1 => format!("{} to {}", r.container, r.host),
        _ => format!(
            "{}..{} to {}..{}",
            r.container,
            r.container + (r.size - 1),
            r.host,
            r.host + (r.size - 1)
        ),
    };
    map.iter().map(range).collect::<Vec<_>>().join(", ")
}

#[derive(Default)]
struct Out {
    text: String,
}

impl Out {
    fn heading(&mut self, text: &str) {
        let _ = writeln!(self.text, "\n{text}");
    }

    /// What the parent does.
    fn line(&mut self, property: &str, text: &str) {
        self.wrapped(&format!("{:NUMBER$}  {property:PROPERTY$} {text}", ""), TEXT + 2);
    }

    /// What init does.
    fn step(&mut self, n: usize, step: &Step, text: &str) {
        self.wrapped(&format!("{:NUMBER$}  {:PROPERTY$} {text}", n + 1, step.origin), TEXT + 2);
    }

    fn hooks(&mut self, kind: HookKind, hooks: &[Hook]) {
        for (n, hook) in hooks.iter().enumerate() {
            let timeout = hook.timeout.map_or_else(String::new, |s| format!(" (at most {s} s)"));
            let text = format!("the parent runs {}{timeout}", hook.path.display());
            self.line(&format!("hooks.{}[{n}]", kind.name()), &text);
        }
    }

    /// One line, broken between words where it is too long, and within a word if need be. A bundle's
    /// words must not pass for lines of ours, nor move the terminal's cursor.
    fn wrapped(&mut self, text: &str, indent: usize) {
        let mut rest: Vec<char> = Vec::with_capacity(text.len());
        for c in text.chars() {
            match c.is_control() {
                true => rest.extend(c.escape_default()),
                false => rest.push(c),
            }
        }
        let mut margin = 0;
        while margin + rest.len() > WIDTH {
            let room = WIDTH - margin;
            // In the first line, not between the columns.
            let from = if margin == 0 { indent } else { 1 };
            let space = (from..=room).rev().find(|at| rest[*at] == ' ');
            let tail = rest.split_off(space.unwrap_or(room));
            self.row(margin, &rest);
            rest = tail.into_iter().skip(usize::from(space.is_some())).collect();
            margin = indent;
        }
        self.row(margin, &rest);
    }

    fn row(&mut self, margin: usize, text: &[char]) {
        let text: String = text.iter().collect();
        let _ = writeln!(self.text, "{:margin$}{text}", "");
    }
}
