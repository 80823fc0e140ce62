// SPDX-License-Identifier: Apache-2.0
/* The floor of hack/bench: the least that the kernel must be asked for, so that a container of the
 * default specification lives and ends, and no more. It reads no configuration, keeps no state and
 * checks nothing but that each call succeeds: what a runtime takes longer is the runtime's own.
 *
 *   floor run [-2] [-u] [-s FILTER] NAME ROOTFS PROGRAM
 *   floor exec [-2] NAME PID PROGRAM
 *
 * -2 pure cgroup v2, else v1 hierarchies and the v2 tree beside them; -u a user namespace;
 * -s a compiled seccomp filter (struct sock_filter, one after the other).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/magic.h>
#include <linux/sched.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT(list) (sizeof(list) / sizeof *(list))
#define DO(call) done((long)(call), #call)

static const char *const TREES[] = { "cpuset", "devices", "memory", "cpu", "cpuacct", "pids",
				     "blkio", "freezer", "systemd", "unified" };
enum { V1 = COUNT(TREES) - 1 };
static int tree[COUNT(TREES)], group[COUNT(TREES)], tasks[COUNT(TREES)], into = -1;
static int v2, user;
static char text[4096];
static struct sock_filter filter[8192];
static struct sock_fprog program = { 0, filter };

static long done(long result, const char *call)
{
	if (result < 0) {
		dprintf(2, "floor: %s: %s\n", call, strerror(errno));
		_exit(125);
	}
	return result;
}

static const char *path(const char *kind, const char *name)
{
	snprintf(text, sizeof text, "/sys/fs/cgroup%s%s%s%s", *kind ? "/" : "", kind, *name ? "/" : "", name);
	return text;
}

static void put(int dir, const char *file, const char *value)
{
	int fd = DO(openat(dir, file, O_WRONLY | O_CLOEXEC));

	DO(write(fd, value, strlen(value)));
	close(fd);
}

/* ---- groups ---- */

static void inherit(int from, int to, const char *file)
{
	char value[256] = "";
	int fd = DO(openat(from, file, O_RDONLY | O_CLOEXEC));

	DO(read(fd, value, sizeof value - 1));
	close(fd);
	put(to, file, value);
}

static void rules_v1(int dir)
{
	static const char *const ALLOW[] = { "b *:* m", "c *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm",
					     "c 1:9 rwm", "c 5:0 rwm", "c 5:2 rwm", "c 136:* rwm" };
	put(dir, "devices.deny", "a");
	int fd = DO(openat(dir, "devices.allow", O_WRONLY | O_CLOEXEC));
	for (size_t i = 0; i < COUNT(ALLOW); i++)
		DO(write(fd, ALLOW[i], strlen(ALLOW[i])));
	close(fd);
}

/* The same rules as an eBPF program: r2 access, r3 kind, r4 major, r5 minor. */
static void rules_v2(int dir)
{
	static const short ALLOW[][2] = { { 1, 3 }, { 1, 5 }, { 1, 7 }, { 1, 8 }, { 1, 9 }, { 5, 0 }, { 5, 2 }, { 136, -1 } };
	struct bpf_insn code[64];
	int n = 0;
#define I(op, dst, src, off_, imm_) \
	(code[n++] = (struct bpf_insn){ .code = (op), .dst_reg = (dst), .src_reg = (src), .off = (off_), .imm = (imm_) })
#define ANSWER(yes) (I(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, yes), I(BPF_JMP | BPF_EXIT, 0, 0, 0, 0))
	I(BPF_LDX | BPF_MEM | BPF_W, 2, 1, 0, 0);
	I(BPF_ALU64 | BPF_MOV | BPF_X, 3, 2, 0, 0);
	I(BPF_ALU64 | BPF_AND | BPF_K, 3, 0, 0, 0xffff);
	I(BPF_ALU64 | BPF_RSH | BPF_K, 2, 0, 0, 16);
	I(BPF_LDX | BPF_MEM | BPF_W, 4, 1, 4, 0);
	I(BPF_LDX | BPF_MEM | BPF_W, 5, 1, 8, 0);
	I(BPF_JMP | BPF_JNE | BPF_K, 2, 0, 2, BPF_DEVCG_ACC_MKNOD);
	ANSWER(1);
	I(BPF_JMP | BPF_JEQ | BPF_K, 3, 0, 2, BPF_DEVCG_DEV_CHAR);
	ANSWER(0);
	for (size_t i = 0; i < COUNT(ALLOW); i++) {
		I(BPF_JMP | BPF_JNE | BPF_K, 4, 0, ALLOW[i][1] < 0 ? 2 : 3, ALLOW[i][0]);
		if (ALLOW[i][1] >= 0)
			I(BPF_JMP | BPF_JNE | BPF_K, 5, 0, 2, ALLOW[i][1]);
		ANSWER(1);
	}
	ANSWER(0);
	union bpf_attr load = { .prog_type = BPF_PROG_TYPE_CGROUP_DEVICE, .expected_attach_type = BPF_CGROUP_DEVICE,
				.insns = (uintptr_t)code, .insn_cnt = n, .license = (uintptr_t)"GPL" };
	int fd = DO(syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof load));
	union bpf_attr attach = { .target_fd = dir, .attach_bpf_fd = fd, .attach_type = BPF_CGROUP_DEVICE,
				  .attach_flags = BPF_F_ALLOW_MULTI };
	DO(syscall(SYS_bpf, BPF_PROG_ATTACH, &attach, sizeof attach));
	close(fd);
}

static void make_groups(const char *name)
{
	for (int i = 0; i < (v2 ? 1 : (int)COUNT(TREES)); i++) {
		const char *kind = v2 ? "" : TREES[i];

		struct statfs where;

		tree[i] = open(path(kind, ""), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (tree[i] < 0)
			continue;
		/* The empty directory on which another machine has the v2 tree. */
		if (fstatfs(tree[i], &where) || where.f_type == TMPFS_MAGIC) {
			tree[i] = -1;
			continue;
		}
		DO(mkdirat(tree[i], name, 0755));
		group[i] = DO(openat(tree[i], name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
		if (v2)
			rules_v2(group[i]);
		else if (!strcmp(kind, "cpuset"))
			inherit(tree[i], group[i], "cpuset.cpus"), inherit(tree[i], group[i], "cpuset.mems");
		else if (!strcmp(kind, "devices"))
			rules_v1(group[i]);
		if (v2 || i == V1)
			into = group[i];
		else
			tasks[i] = DO(openat(group[i], "tasks", O_WRONLY | O_CLOEXEC));
	}
}

static void join(void)
{
	for (int i = 0; !v2 && i < V1; i++)
		if (tree[i] >= 0)
			DO(write(tasks[i], "0", 1));
}

/* ---- the container's first process ---- */

static void mounts(const char *name)
{
	unsigned long quiet = MS_NOSUID | MS_NOEXEC | MS_NODEV;

	DO(mount("proc", "proc", "proc", 0, NULL));
	DO(mount("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k"));
	DO(mkdir("dev/pts", 0755));
	DO(mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"));
	DO(mkdir("dev/shm", 0755));
	DO(mount("shm", "dev/shm", "tmpfs", quiet, "mode=1777,size=65536k"));
	DO(mkdir("dev/mqueue", 0755));
	DO(mount("mqueue", "dev/mqueue", "mqueue", quiet, NULL));
	DO(mount("sysfs", "sys", "sysfs", quiet | MS_RDONLY, NULL));
	quiet |= MS_RELATIME;
	if (v2) {
		DO(mount("cgroup", "sys/fs/cgroup", "cgroup2", quiet | MS_RDONLY, NULL));
		return;
	}
	DO(mount("tmpfs", "sys/fs/cgroup", "tmpfs", quiet, "mode=755"));
	for (int i = 0; i < V1; i++) {
		char to[64];

		if (tree[i] < 0)
			continue;
		snprintf(to, sizeof to, "sys/fs/cgroup/%s", TREES[i]);
		DO(mkdir(to, 0755));
		DO(mount(path(TREES[i], name), to, NULL, MS_BIND, NULL));
		DO(mount(NULL, to, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | quiet, NULL));
	}
	DO(mount(NULL, "sys/fs/cgroup", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | quiet, NULL));
}

static void nodes(void)
{
	static const struct { const char *host, *here; int major, minor; } NODES[] = {
		{ "/dev/null", "dev/null", 1, 3 },     { "/dev/zero", "dev/zero", 1, 5 },
		{ "/dev/full", "dev/full", 1, 7 },     { "/dev/random", "dev/random", 1, 8 },
		{ "/dev/urandom", "dev/urandom", 1, 9 }, { "/dev/tty", "dev/tty", 5, 0 },
	};
	static const char *const LINKS[][2] = {
		{ "/proc/self/fd", "dev/fd" },	       { "/proc/self/fd/0", "dev/stdin" },
		{ "/proc/self/fd/1", "dev/stdout" }, { "/proc/self/fd/2", "dev/stderr" },
		{ "pts/ptmx", "dev/ptmx" },
	};

	umask(0);
	for (size_t i = 0; i < COUNT(NODES); i++) {
		if (!user) {
			DO(mknod(NODES[i].here, S_IFCHR | 0666, makedev(NODES[i].major, NODES[i].minor)));
			continue;
		}
		close(DO(open(NODES[i].here, O_CREAT | O_WRONLY | O_CLOEXEC, 0666)));
		DO(mount(NODES[i].host, NODES[i].here, NULL, MS_BIND, NULL));
	}
	for (size_t i = 0; i < COUNT(LINKS); i++)
		DO(symlink(LINKS[i][0], LINKS[i][1]));
	umask(022);
}

static void cover(void)
{
	static const char *const READ[] = { "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger" };
	static const char *const HIDE[] = { "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
					    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware",
					    "/proc/scsi" };
	const char *empty = NULL;
	struct stat st;

	for (size_t i = 0; i < COUNT(READ); i++)
		if (!mount(READ[i], READ[i], NULL, MS_BIND | MS_REC, NULL))
			DO(mount(NULL, READ[i], NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
	for (size_t i = 0; i < COUNT(HIDE); i++) {
		if (stat(HIDE[i], &st) < 0)
			continue;
		if (!S_ISDIR(st.st_mode))
			DO(mount("/dev/null", HIDE[i], NULL, MS_BIND, NULL));
		else if (empty)
			DO(mount(empty, HIDE[i], NULL, MS_BIND, NULL));
		else
			DO(mount("tmpfs", empty = HIDE[i], "tmpfs", MS_RDONLY, "nr_blocks=1,nr_inodes=1"));
	}
}

/* CAP_KILL, CAP_NET_BIND_SERVICE, CAP_AUDIT_WRITE. */
static const uint32_t KEPT = 1u << 5 | 1u << 10 | 1u << 29;

static void cut_down(void)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct caps[2] = { { KEPT, KEPT, 0 }, { 0, 0, 0 } };

	for (int cap = 0; cap <= 40; cap++)
		if (cap > 31 || !(KEPT >> cap & 1))
			DO(prctl(PR_CAPBSET_DROP, cap));
	DO(setgroups(0, NULL));
	DO(syscall(SYS_capset, &head, caps));
	DO(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

static void become(const char *file)
{
	char *argv[] = { (char *)file, NULL }, *envp[] = { "PATH=/usr/bin:/bin", NULL };

	if (program.len)
		DO(syscall(SYS_seccomp, 1 /* SECCOMP_SET_MODE_FILTER */, 0, &program));
	DO(execve(file, argv, envp));
}

static void live(const char *name, const char *rootfs, const char *file, int go)
{
	char byte;

	join();
	if (user) {
		DO(read(go, &byte, 1));
		DO(syscall(SYS_setresgid, 0, 0, 0));
		DO(syscall(SYS_setresuid, 0, 0, 0));
	}
	DO(syscall(SYS_keyctl, 1 /* KEYCTL_JOIN_SESSION_KEYRING */, name, 0, 0, 0));
	DO(setsid());
	DO(mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL));
	DO(mount(rootfs, rootfs, NULL, MS_BIND | MS_REC, NULL));
	DO(chdir(rootfs));
	mounts(name);
	nodes();
	DO(syscall(SYS_pivot_root, ".", "."));
	DO(umount2(".", MNT_DETACH));
	DO(chdir("/"));
	DO(mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
	cover();
	DO(sethostname("floor", 5));
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	int fd = DO(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	DO(ioctl(fd, SIOCSIFFLAGS, &lo));
	close(fd);
	DO(setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 1024, 1024 }));
	cut_down();
	DO(syscall(SYS_close_range, 3, ~0u, 4 /* CLOSE_RANGE_CLOEXEC */));
	become(file);
}

/* ---- the parent ---- */

static long birth(uint64_t flags, int *pidfd)
{
	struct clone_args args = { .flags = flags | CLONE_PIDFD, .pidfd = (uintptr_t)pidfd, .exit_signal = SIGCHLD };

	if (into >= 0)
		args.flags |= CLONE_INTO_CGROUP, args.cgroup = into;
	return DO(syscall(SYS_clone3, &args, sizeof args));
}

static int end_of(int pidfd)
{
	siginfo_t info;

	DO(waitid(P_PIDFD, pidfd, &info, WEXITED));
	return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}

static int run(const char *name, const char *rootfs, const char *file)
{
	uint64_t flags = CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNS | CLONE_NEWNET;
	int pidfd, go[2] = { -1, -1 };

	make_groups(name);
	if (user)
		DO(pipe2(go, O_CLOEXEC));
	long pid = birth(flags | (v2 ? CLONE_NEWCGROUP : 0) | (user ? CLONE_NEWUSER : 0), &pidfd);
	if (!pid)
		live(name, rootfs, file, go[0]);
	for (int i = 0; user && i < 2; i++) {
		snprintf(text, sizeof text, "/proc/%ld/%s", pid, i ? "gid_map" : "uid_map");
		put(AT_FDCWD, text, "0 100000 65536");
	}
	if (user)
		DO(write(go[1], "g", 1));
	int status = end_of(pidfd);
	for (int i = 0; i < (v2 ? 1 : (int)COUNT(TREES)); i++)
		if (tree[i] >= 0)
			DO(unlinkat(tree[i], name, AT_REMOVEDIR));
	return status;
}

static int exec(const char *name, long pid, const char *file)
{
	uint64_t all = CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNS | CLONE_NEWNET | (v2 ? CLONE_NEWCGROUP : 0);
	int pidfd, target = DO(syscall(SYS_pidfd_open, pid, 0));

	for (int i = 0; i < (v2 ? 1 : (int)COUNT(TREES)); i++) {
		snprintf(text, sizeof text, "/sys/fs/cgroup/%s%s%s%s", v2 ? "" : TREES[i], v2 ? "" : "/", name,
			 v2 || i == V1 ? "" : "/tasks");
		tree[i] = tasks[i] = open(text, (v2 || i == V1 ? O_RDONLY | O_DIRECTORY : O_WRONLY) | O_CLOEXEC);
		if (v2 || i == V1)
			into = tree[i];
	}
	DO(setns(target, CLONE_NEWPID));
	if (!birth(0, &pidfd)) {
		join();
		DO(setns(target, all));
		DO(setsid());
		DO(setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 1024, 1024 }));
		cut_down();
		DO(syscall(SYS_close_range, 3, ~0u, 4));
		become(file);
	}
	return end_of(pidfd);
}

int main(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "";
	int option, fd;

	optind = 2;
	while ((option = getopt(argc, argv, "2us:")) != -1) {
		if (option == '2')
			v2 = 1;
		else if (option == 'u')
			user = 1;
		else if (option == 's') {
			fd = DO(open(optarg, O_RDONLY | O_CLOEXEC));
			program.len = DO(read(fd, filter, sizeof filter)) / sizeof *filter;
			close(fd);
		} else
			return 2;
	}
	if (argc - optind != 3)
		return 2;
	argv += optind;
	return strcmp(verb, "exec") ? run(argv[0], argv[1], argv[2]) : exec(argv[0], atol(argv[1]), argv[2]);
}
