// SPDX-License-Identifier: Apache-2.0
//! Where crun (1.8 to 1.21) and runc (1.1) are known to go another way, test by test. A test that
//! then fails is counted as skipped, with this reason; see [`differs!`](crate::differs) for those
//! few that stand beside a test.

use crate::Flavor;

/// Why this test is known to fail with this runtime.
pub(crate) fn reason(flavor: Flavor, test: &str) -> Option<&'static str> {
    let list = match flavor {
        Flavor::Crun => CRUN,
        Flavor::Runc => RUNC,
        _ => return None,
    };
    list.iter().find(|(name, _)| *name == test).map(|(_, why)| *why)
}

const CRUN: &[(&str, &str)] = &[
    ("console::run_in_the_foreground_has_a_terminal", "the size is not the caller's terminal's"),
    ("devices::a_later_rule_wins", "an exception of an exception is dropped in silence on v1"),
    ("devices::an_empty_list_of_rules_refuses_too", "without rules every device is allowed"),
    ("devices::bad_devices_are_refused", "an unknown device type is taken"),
    (
        "devices::the_hosts_devices_keep_owner_and_mode",
        "the host's /dev/null is chowned to the container's user",
    ),
    ("errors::a_relative_cwd", "a relative cwd is taken"),
    ("errors::a_text_in_place_of_a_number", "a text is taken for 0"),
    ("exec::it_has_the_containers_limits_and_rights_by_default", "exec has no no_new_privs of its container"),
    ("exec::it_joins_a_time_namespace", "time namespaces fail here"),
    ("fds::closed_streams_are_no_trouble", "a closed standard input is an error"),
    ("fds::listen_fds_are_passed_with_their_variables", "LISTEN_FDS is not passed on"),
    ("hooks::an_absent_environment_is_empty", "a hook without env inherits the caller's"),
    ("hooks::the_environment_is_the_hooks_own", "a hook that does not read its input is an error, at times"),
    ("hooks::state_of", "the hook is told pid 0"),
    ("life::ids_are_checked", "any id without a slash is taken"),
    ("life::kill_refuses_an_unknown_signal", "an unknown signal is taken"),
    ("life::list_tells_every_container", "list is in no order"),
    ("limits::an_impossible_cpuset_is_an_error", "the cgroups of a failed create stay"),
    ("limits::bad_limits_are_errors", "a text is taken for a number"),
    ("limits::no_pids_limit", "-1 is written as it is"),
    ("paths::a_mount_of_the_host_propagates_to_a_slave", "rootfsPropagation slave is private"),
    ("paths::a_read_only_path_keeps_the_flags_of_its_mount", "nosuid and the like are lost"),
    ("mounts::an_unknown_file_system_is_refused", "the error does not name the mount"),
    ("mounts::an_unknown_option_is_the_file_systems_affair", "the error does not name the mount"),
    ("mounts::mountpoints_are_made", "parents are made with mode 1755"),
    ("paths::propagation", "rootfsPropagation slave is private"),
    ("mounts::rbind_in_a_user_namespace", "submounts of the source are lost"),
    ("mounts::the_cgroup_mount_shows_the_containers_own", "the tmpfs of a read-only v1 tree is writable"),
    ("mounts::the_cgroup_mount_without_a_namespace", "the tmpfs of a read-only v1 tree is writable"),
    ("mounts::the_last_of_two_contrary_options_wins", "the first word stays"),
    ("mounts::tmpfs_without_a_mode_has_that_of_the_directory", "the mode is 1777"),
    ("namespaces::a_new_time_namespace", "time namespaces fail here"),
    ("namespaces::a_type_twice_is_refused", "a type twice is taken"),
    ("namespaces::joins_a_time_namespace", "time namespaces fail here"),
    ("namespaces::time_offsets", "time namespaces fail here"),
    ("process::a_relative_working_directory_is_refused", "a relative cwd is taken"),
    ("process::a_session_keyring_of_its_own", "the keyring is named otherwise"),
    (
        "process::a_strict_umask_of_the_caller_breaks_no_mount_point",
        "parents are made with the caller's umask",
    ),
    ("process::ids_beyond_the_range_are_refused", "a text is taken for 0"),
    ("rootfs::an_unknown_rootfs_propagation_is_refused", "an unknown word is ignored"),
    ("rootfs::propagation", "rootfsPropagation slave is private"),
    (
        "security::root_of_a_user_namespace_cannot_loosen_the_hosts_mount",
        "the host's flags are cleared from inside",
    ),
    ("security::root_of_a_user_namespace_cannot_uncover_what_is_hidden", "what the host hides is shown"),
    ("stress::a_hundred_containers_are_listed", "list is in no order"),
    // 1.21, on v2.
    ("errors::an_unknown_namespace", "the cgroups of a failed create stay"),
    ("limits::a_bad_unified_key_is_an_error", "the cgroups of a failed create stay"),
    ("namespaces::a_path_of_the_wrong_type_is_refused", "the cgroups of a failed create stay"),
    ("namespaces::a_relative_path_is_refused", "the cgroups of a failed create stay"),
    ("namespaces::an_unknown_type_is_refused", "the cgroups of a failed create stay"),
    ("namespaces::maps_that_overlap_are_refused", "the cgroups of a failed create stay"),
    ("process::an_oom_score_beyond_the_range_is_refused", "the cgroups of a failed create stay"),
    ("volumes::a_file_system_without_mapped_ids", "the cgroups of a failed create stay"),
    ("checkpoint::what_does_not_run_cannot_be_checkpointed", "CRIU is asked all the same"),
    ("checkpoint::without_criu_the_error_says_so", "libcriu's own words"),
    (
        "delegation::a_group_that_is_only_read_stays_the_hosts",
        "the group is the container's, however it is mounted",
    ),
    ("delegation::a_writable_group_is_the_containers", "ps does not look into groups below"),
    (
        "exec::without_a_mount_namespace_the_root_is_the_containers",
        "exec without a mount namespace has the host's root",
    ),
    ("hooks::fails", "no poststop hooks after a failed create"),
    (
        "nested::a_proc_that_the_outer_container_masks",
        "what cannot be mounted within a container is an error",
    ),
    ("nested::what_could_be_bound_is_not_there", "what cannot be mounted within a container is an error"),
    (
        "nested::what_is_of_the_callers_namespaces_is_bound",
        "what cannot be mounted within a container is an error",
    ),
    (
        "pause::a_created_container_can_be_paused_and_not_started_meanwhile",
        "a created container that is paused is called created",
    ),
    ("pause::ps_looks_into_nested_groups", "ps does not look into groups below"),
    ("sched::a_deadline_process", "EBUSY, since it resets the affinity"),
    ("sched::bad_schedulers_are_refused", "a deadline without a period, and the like, is taken"),
    (
        "systemd::a_failed_unit_of_the_same_name_makes_way",
        "properties of systemd in microseconds by their D-Bus names are refused",
    ),
    ("systemd::a_user_with_a_session", "update takes bytes alone, no 96m"),
    ("systemd::an_update_keeps_files_and_properties_in_step", "update takes bytes alone, no 96m"),
    ("systemd::exec_goes_into_the_scope", "the container is in a group below the scope's"),
    (
        "systemd::limits_are_files_and_properties_and_no_reload_changes_them",
        "the older formula for cpu.shares",
    ),
    ("systemd::root_of_a_users_own_namespace_as_under_podman", "exec stays outside of the unit"),
    ("systemd::slices_and_names", "the container is in a group below the scope's"),
    ("update::a_stopped_container_has_no_limits_to_change", "an update of the dead is no error"),
    ("update::every_flag_reaches_its_file", "update takes bytes alone, no 64m"),
    ("update::resources_come_from_a_file_or_standard_input", "a bad file of resources is taken"),
    ("volumes::links_themselves", "a link's target must exist"),
];

const RUNC: &[(&str, &str)] = &[
    (
        "delegation::a_writable_group_is_the_containers",
        "the group is the container's with the systemd driver only",
    ),
    ("exec::without_a_mount_namespace_the_root_is_the_containers", "cannot do without /proc"),
    ("nested::what_could_be_bound_is_not_there", "what cannot be mounted within a container is an error"),
    ("notify::every_user_of_a_container_can_tell", "only root can write to the socket"),
    ("paths::a_mount_of_the_host_propagates_to_a_slave", "a bind is cut off from the host"),
    ("paths::propagation", "a bind is cut off from the host"),
    ("process::standard_streams_belong_to_the_containers_user", "a file stays its owner's"),
    ("rootfs::propagation", "rootfsPropagation slave is private"),
    ("sched::a_deadline_process", "1.1 knows no schedulers"),
    ("sched::a_policy_that_is_reset_on_fork", "1.1 knows no schedulers"),
    ("sched::bad_schedulers_are_refused", "1.1 knows no schedulers"),
    ("sched::every_policy_is_in_force", "1.1 knows no schedulers"),
    ("sched::the_io_priority", "1.1 knows no I/O priority"),
    ("systemd::a_failed_unit_of_the_same_name_makes_way", "a failed unit stands in the way"),
    (
        "systemd::limits_are_files_and_properties_and_no_reload_changes_them",
        "the older formula for cpu.shares",
    ),
    ("systemd::root_of_a_users_own_namespace_as_under_podman", "exec stays outside of the unit"),
    ("update::every_flag_reaches_its_file", "the older formula for cpu.shares"),
    ("update::real_time_periods", "what v2 does not have is passed over"),
    ("volumes::a_file_system_without_mapped_ids", "1.1 knows no mapped mounts"),
];
