// SPDX-License-Identifier: Apache-2.0
//! What happens in a mount namespace of the container's own: the root, the mounts, the devices,
//! and the way in.

use std::path::Path;

use oci_spec::runtime::{Linux, Process, Spec};

use super::annotations::Annotations;
use super::cgroup::CgroupLayout;
use super::hooks::Hooks;
use super::mounts::{self, Links, Opener, Setting, What};
use super::namespaces::{Kind, Namespaces};
use super::problem::Problem;
use super::propagation::{Propagation, root_propagation};
use super::step::{Action, Step};
use super::{Host, Request, Source, nodes, notify, process};

/// The part of a plan that happens in a mount namespace of the container's own.
pub(super) struct Tree<'a> {
    pub(super) spec: &'a Spec,
    pub(super) linux: Option<&'a Linux>,
    pub(super) process: Option<&'a Process>,
    pub(super) host: &'a Host,
    pub(super) request: &'a Request,
    pub(super) namespaces: &'a Namespaces,
    pub(super) rootfs: &'a Path,
    pub(super) opener: Opener,
    pub(super) annotations: &'a Annotations,
}

impl Tree<'_> {
    pub(super) fn steps(
        &self,
        hooks: &Hooks,
        steps: &mut Vec<Step>,
        sources: &mut Vec<Source>,
        problems: &mut Vec<Problem>,
        warnings: &mut Vec<Problem>,
    ) {
        let root = root_propagation(self.linux, problems);
        // Slave: what the host mounts later still shows, what the container mounts never reaches the host.
        let base = Propagation { recursive: true, flag: root.map_or(libc::MS_SLAVE, |p| p.flag) };
        let base = if base.flag == libc::MS_UNBINDABLE {
            Propagation { flag: libc::MS_PRIVATE, ..base }
        } else {
            base
        };
        let origin = if root.is_some() { "linux.rootfsPropagation" } else { "default" };
        steps.push(Step::new(origin, Action::SetPropagation { propagation: base }));
        steps.push(Step::new(
            "root.path",
            Action::AttachRootfs { path: self.rootfs.to_owned(), shared: base.flag == libc::MS_SHARED },
        ));
        let user = self.namespaces.has(Kind::User);
        let setting = Setting {
            namespaces: self.namespaces,
            cgroup_v2: matches!(self.host.cgroups, CgroupLayout::V2),
            opener: self.opener,
            base,
            bundle: self.request.bundle.clone(),
            label: mounts::label(self.linux, self.annotations),
        };
        let none = Vec::new();
        let list = self.spec.mounts().as_ref().unwrap_or(&none);
        let mut dev_is_bound = false;
        for (n, mount) in mounts::plan(list, &setting, problems, warnings) {
            let origin = format!("mounts[{n}]");
            let on_dev = mount.target == Path::new("/dev");
            if let What::Bind { source, recursive, links, idmap, opener, .. } = &mount.what {
                dev_is_bound |= on_dev;
                sources.push(Source {
                    origin: origin.clone(),
                    path: source.clone(),
                    recursive: *recursive,
                    links: *links,
                    idmap: idmap.clone(),
                    opener: *opener,
                });
            }
            steps.push(Step::new(origin, Action::Mount(mount)));
        }
        if let (Some(dir), Some(_)) = (&self.request.notify, self.process) {
            let (origin, mount) = (notify::ORIGIN, notify::mount(dir.clone(), self.opener, sources.len()));
            let source = Source {
                origin: origin.to_owned(),
                path: dir.clone(),
                recursive: false,
                links: Links::Followed,
                idmap: None,
                opener: self.opener,
            };
            sources.push(source);
            steps.push(Step::new(origin, Action::Mount(mount)));
        }
        // Somebody else's /dev is taken as it is.
        if !dev_is_bound {
            nodes::devices(self.linux, user, steps, problems);
        }
        if let Some(console) = self.process.and_then(|p| process::console(p, true)) {
            steps.push(Step::new("process.terminal", Action::OpenConsole(console)));
        }
        steps.push(Step::new("default", Action::AwaitRuntimeHooks));
        steps.extend(hooks.of_init());
        let enter = match self.request.no_pivot {
            true => Action::MoveRoot,
            false => Action::PivotRoot { shared: base.flag == libc::MS_SHARED },
        };
        if self.linux.is_some_and(|l| l.masked_paths().as_ref().is_some_and(|paths| !paths.is_empty())) {
            steps.push(Step::new("linux.maskedPaths", Action::OpenCovers { label: setting.label }));
        }
        steps.push(Step::new("root.path", enter));
        if let Some(propagation) = root {
            steps.push(Step::new("linux.rootfsPropagation", Action::SetRootPropagation { propagation }));
        }
        if self.spec.root().as_ref().is_some_and(|r| r.readonly().unwrap_or(false)) {
            steps.push(Step::new("root.readonly", Action::MakeRootReadonly));
        }
        nodes::covered(self.linux, steps, problems);
    }
}

/// What needs mounts is refused where they would be the host's.
pub(super) fn without_mount_namespace(
    spec: &Spec,
    linux: Option<&Linux>,
    rootfs: &Path,
    hooks: &Hooks,
    steps: &mut Vec<Step>,
    problems: &mut Vec<Problem>,
) {
    let filled = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|l| !l.is_empty());
    let needs = [
        ("mounts", spec.mounts().as_ref().is_some_and(|m| !m.is_empty())),
        ("root.readonly", spec.root().as_ref().is_some_and(|r| r.readonly().unwrap_or(false))),
        ("linux.maskedPaths", linux.is_some_and(|l| filled(l.masked_paths()))),
        ("linux.readonlyPaths", linux.is_some_and(|l| filled(l.readonly_paths()))),
        ("linux.rootfsPropagation", linux.is_some_and(|l| l.rootfs_propagation().is_some())),
        ("process.terminal", spec.process().as_ref().is_some_and(|p| p.terminal().unwrap_or(false))),
    ];
    for (property, asked) in needs {
        if asked {
            problems.push(
                Problem::new(property, "needs a mount namespace of the container's own")
                    .hint("add {\"type\": \"mount\"} to linux.namespaces"),
            );
        }
    }
    steps.push(Step::new("default", Action::AwaitRuntimeHooks));
    steps.extend(hooks.of_init());
    steps.push(Step::new("root.path", Action::Chroot { path: rootfs.to_owned() }));
}
