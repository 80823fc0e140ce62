// SPDX-License-Identifier: Apache-2.0
//! Order is where runtimes get holed: the rules, each with its reason, held against every plan.

use libcontainer::plan::step::{Action, Step};

use crate::bundles::{all, executions};

/// All of the first come before all of the second; a name is how the action's Debug begins.
const RULES: &[(&str, &str, &str)] = &[
    ("BecomeRoot", "JoinKeyring", "nothing is done as nobody; exec enters first"),
    ("JoinCgroups", "NewCgroupNamespace", "its root is where init stands"),
    ("JoinCgroups", "RunHooks", "a child born before stays outside the limits"),
    ("JoinCgroups", "AwaitRuntimeHooks", "hooks of the parent may look at the cgroup"),
    ("JoinCgroups", "EnterNamespaces", "the files are the host's"),
    ("NewCgroupNamespace", "Mount(", "a cgroup mount shows the namespace's root"),
    ("EnterNetwork", "AwaitRuntimeHooks", "hooks of the parent find the network by init's process"),
    ("EnterNetwork", "WriteSysctl", "net.* is the namespace's"),
    ("EnterNetwork", "LoadSeccomp", "setns may not be allowed"),
    ("EnterNamespaces", "BecomeRoot", "the ids are those of the entered namespace"),
    ("EnterNamespaces", "OpenConsole", "the terminal is one of the container's devpts"),
    ("EnterNamespaces", "LoadSeccomp", "setns may not be allowed"),
    ("NewSession", "OpenConsole", "only a leader without a terminal can take one"),
    ("SetPropagation", "AttachRootfs", "the host must not see the container's mounts"),
    ("AttachRootfs", "Mount(", "mounts lie on the root's own mount"),
    ("Mount(", "MakeDevice", "/dev is a mount"),
    ("MakeDevice", "MakeLink", "a device that is asked for may take a link's place"),
    ("Mount(", "OpenConsole", "/dev/pts is a mount"),
    ("MakeLink", "OpenConsole", "/dev/console is in /dev"),
    ("Mount(", "AwaitRuntimeHooks", "createRuntime hooks find the mounts (config.md)"),
    ("MakeDevice", "AwaitRuntimeHooks", "createRuntime hooks find the devices"),
    ("OpenConsole", "AwaitRuntimeHooks", "the parent hands the terminal on before it runs hooks"),
    ("AwaitRuntimeHooks", "RunHooks { kind: CreateContainer", "config.md: createRuntime comes first"),
    ("RunHooks { kind: CreateContainer", "PivotRoot", "config.md: before pivot_root"),
    ("RunHooks { kind: CreateContainer", "MoveRoot", "config.md: before pivot_root"),
    ("RunHooks { kind: CreateContainer", "Chroot", "the hook's path is the host's"),
    ("Mount(", "PivotRoot", "sources are the host's"),
    ("Mount(", "MoveRoot", "sources are the host's"),
    ("MakeDevice", "PivotRoot", "the host's nodes are bound where none can be made"),
    ("PivotRoot", "SetRootPropagation", "\"/\" must be the container's"),
    ("PivotRoot", "MakeRootReadonly", "\"/\" must be the container's"),
    ("SetRootPropagation", "MakeRootReadonly", "both change the root mount; read-only is the last word"),
    ("PivotRoot", "MakeReadonly {", "a path must be the container's"),
    ("OpenCovers", "PivotRoot", "the null device is the host's"),
    ("PivotRoot", "Mask", "a path must be the container's"),
    ("MakeReadonly {", "Mask", "what is both is masked"),
    ("PivotRoot", "WriteSysctl", "the host's tree is gone"),
    ("WriteSysctl", "DropBounding", "needs rights"),
    ("PivotRoot", "EnterCwd", "a path must be the container's (CVE-2024-21626)"),
    ("MoveRoot", "EnterCwd", "a path must be the container's"),
    ("Chroot", "EnterCwd", "a path must be the container's"),
    ("PivotRoot", "FindHome", "the passwd must be the container's"),
    ("EnterCwd", "SetUser", "a directory that only root may enter can be one's start"),
    ("EnterCwd", "FindExecutable", "a relative PATH starts there"),
    ("ChownStdio", "SetUser", "needs rights"),
    ("OpenConsole", "ChownStdio", "standard input is the terminal then"),
    ("SetRlimit", "SetUser", "a hard limit above the caller's needs CAP_SYS_RESOURCE"),
    ("SetExecLabel", "CloseDescriptors", "a procfs is opened for it"),
    ("SetExecLabel", "DropBounding", "a procfs is made for it, which needs rights"),
    ("SetExecLabel", "LoadSeccomp", "mounting may not be allowed"),
    ("ReadSetgroups", "LoadSeccomp", "mounting may not be allowed"),
    ("ReadSetgroups", "DropBounding", "a procfs is made for it, which needs rights"),
    ("ReadSetgroups", "SetUser", "it says whether setgroups is called"),
    ("SetMemoryPolicy", "DropBounding", "the filter and what comes after may not allow it"),
    ("SetAffinity", "LoadSeccomp", "sched_setaffinity may not be allowed"),
    ("CloseDescriptors", "LoadSeccomp", "close_range may not be allowed"),
    ("OutliveParent", "LoadSeccomp", "prctl may not be allowed"),
    ("CloseDescriptors", "AwaitStart", "nothing of the host's is left while init waits"),
    ("OutliveParent", "AwaitStart", "the parent ends when init is ready"),
    ("DropBounding", "SetUser", "needs CAP_SETPCAP"),
    ("DropBounding", "SetCapabilities", "needs CAP_SETPCAP"),
    ("SetNoNewPrivs", "LoadSeccomp", "what lets anybody load a filter"),
    ("SetUser", "SetCapabilities", "a change of uid would clear what has been set"),
    ("SetUser", "FindExecutable", "it must be executable for the user"),
    ("SetCapabilities", "FindExecutable", "it must be executable with the payload's rights"),
    ("SetCapabilities", "SetUmask", "the umask is the payload's alone"),
    ("FindExecutable", "AwaitStart", "create says that it is missing, not start"),
    ("AwaitStart", "RunHooks { kind: StartContainer", "config.md: when start is called"),
    ("RunHooks { kind: StartContainer", "Exec", "config.md: before the payload"),
    ("AwaitStart", "Exec", "the payload waits for start"),
];

/// Every plan: its name, and what its process does.
fn plans() -> Vec<(&'static str, Vec<Step>)> {
    let create = all().into_iter().map(|case| (case.name, case.plan().steps));
    create.chain(executions().into_iter().map(|(name, plan)| (name, plan.steps))).collect()
}

/// `Exec` is no `Execute`, but `Mount(` is every mount.
fn is(step: &Step, name: &str) -> bool {
    let text = format!("{:?}", step.action);
    let whole =
        |rest: &str| !name.ends_with(char::is_alphanumeric) || !rest.starts_with(char::is_alphanumeric);
    text.strip_prefix(name).is_some_and(whole)
}

fn first(steps: &[Step], name: &str) -> Option<usize> {
    steps.iter().position(|step| is(step, name))
}

fn last(steps: &[Step], name: &str) -> Option<usize> {
    steps.iter().rposition(|step| is(step, name))
}

/// The rules that apply to these steps, and whether they keep them.
fn judge(steps: &[Step]) -> Vec<(usize, bool)> {
    let verdict =
        |(n, (a, b, _)): (usize, &(&str, &str, &str))| Some((n, last(steps, a)? < first(steps, b)?));
    RULES.iter().enumerate().filter_map(verdict).collect()
}

#[test]
fn every_plan_keeps_every_rule() {
    let mut applied = vec![false; RULES.len()];
    for (name, steps) in plans() {
        for (n, kept) in judge(&steps) {
            let (before, after, why) = RULES[n];
            assert!(kept, "{name}: {before} must come before {after}: {why}");
            applied[n] = true;
        }
    }
    // A rule whose names no plan has would hold for ever.
    for ((before, after, _), applied) in RULES.iter().zip(applied) {
        assert!(applied, "no plan has both {before} and {after}");
    }
}

#[test]
fn a_broken_rule_is_noticed() {
    for (name, mut steps) in plans() {
        steps.reverse();
        let kept: Vec<_> = judge(&steps).into_iter().filter(|(_, kept)| *kept).collect();
        assert_eq!(kept, [], "{name}");
    }
}

fn plan(name: &str) -> Vec<Step> {
    plans().into_iter().find(|(n, _)| *n == name).unwrap().1
}

fn at(steps: &[Step], name: &str) -> usize {
    first(steps, name).unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn with_no_new_privileges_the_filter_is_the_last_thing_before_ready() {
    let steps = plan("seccomp-with-no-new-privileges");
    let filter = at(&steps, "LoadSeccomp");
    assert_eq!(filter + 1, at(&steps, "AwaitStart"));
    for rights in
        ["SetNoNewPrivs", "DropBounding", "SetUser", "SetCapabilities", "SetUmask", "FindExecutable"]
    {
        assert!(at(&steps, rights) < filter, "{rights}");
    }
}

#[test]
fn without_no_new_privileges_the_filter_is_loaded_with_the_rights_that_it_takes() {
    for name in ["seccomp-without-no-new-privileges", "exec-in-a-chroot"] {
        let steps = plan(name);
        assert_eq!(first(&steps, "SetNoNewPrivs"), None);
        let filter = at(&steps, "LoadSeccomp");
        assert!(filter < at(&steps, "SetUser") && filter < at(&steps, "SetCapabilities"), "{name}");
        assert!(at(&steps, "EnterCwd") < filter, "{name}");
    }
}

#[test]
fn a_plan_ends_with_exec_and_waits_once() {
    for (name, steps) in plans() {
        let count = |what: &str| steps.iter().filter(|step| is(step, what)).count();
        assert_eq!(count("AwaitStart"), 1, "{name}");
        match name {
            "no-process" => assert_eq!(steps.last().map(|s| &s.action), Some(&Action::AwaitStart)),
            _ => assert_eq!(steps.last().map(|s| &s.action), Some(&Action::Exec), "{name}"),
        }
        assert_eq!(count("Exec"), usize::from(name != "no-process"), "{name}");
        let entrances = count("PivotRoot") + count("MoveRoot") + count("Chroot") + count("EnterNamespaces");
        assert!(entrances == 1 || name == "exec-in-a-chroot", "{name}: {entrances} ways into the root");
    }
}

/// With mounts that reach the host, both ends of pivot_root are cut off from it first.
#[test]
fn shared_mounts_are_entered_with_care() {
    for (name, shared) in [("shared-propagation", true), ("unbindable-propagation", false), ("hooks", false)]
    {
        for step in plan(name) {
            match step.action {
                Action::AttachRootfs { shared: given, .. } | Action::PivotRoot { shared: given } => {
                    assert_eq!(given, shared, "{name}: {}", step.action);
                }
                _ => {}
            }
        }
    }
}

/// A step that asks for rights must name the property that asks for it, or be our own.
#[test]
fn every_step_has_an_origin_that_the_configuration_can_have() {
    let roots =
        ["default", "linux", "process", "mounts", "hooks", "root", "hostname", "domainname", "NOTIFY_SOCKET"];
    for (name, steps) in plans() {
        for step in steps {
            let root = step.origin.split(['.', '[']).next().unwrap_or_default();
            assert!(roots.contains(&root), "{name}: {} of {}", step.action, step.origin);
        }
    }
}
