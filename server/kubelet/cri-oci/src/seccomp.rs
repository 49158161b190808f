//! The `RuntimeDefault` system call filter: an allow list with the same reach as Docker's and containerd's.
//!
//! Written from the public facts of that list: everything an ordinary program needs is allowed; calls that
//! reach the kernel beyond a container (modules, mounts, keyrings, clocks, other namespaces, kexec, bpf) need
//! the capability that guards them, and are refused with EPERM otherwise; unknown calls say ENOSYS so that
//! libc falls back.

use std::collections::HashMap;
use std::sync::Arc;

use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};

/// Allowed to every container.
const ALWAYS: &str = "accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown \
chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 \
clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3 \
epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd \
eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark \
fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock \
fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex \
futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu \
getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer \
getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32 \
getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid getuid32 getxattr getxattrat \
inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents \
io_pgetevents_time64 io_setup io_submit ioctl ioprio_get ioprio_set ipc kill landlock_add_rule \
landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listmount \
listxattr listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 madvise map_shadow_stack \
membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 \
mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend \
mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap \
name_to_handle_at nanosleep newfstatat _newselect open openat openat2 pause pidfd_open pidfd_send_signal pipe \
pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 \
process_mrelease pselect6 pselect6_time64 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv \
recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat rename renameat \
renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn \
rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max \
sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler \
sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam \
sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64 send sendfile \
sendfile64 sendmmsg sendmsg sendto set_robust_list set_thread_area set_tid_address setfsgid setfsgid32 \
setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 \
setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setsockopt setuid setuid32 \
setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 sigprocmask sigreturn \
socketcall socketpair splice stat stat64 statfs statfs64 statmount statx symlink symlinkat sync \
sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime \
timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 \
timerfd_settime timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat \
uretprobe utime utimensat utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid write writev \
arch_prctl modify_ldt process_vm_readv process_vm_writev ptrace";

/// Allowed to those who hold the capability.
const WITH: [(&str, &str); 12] = [
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr \
         move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog \
         umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module finit_module init_module query_module"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise"),
    ("CAP_SYS_RAWIO", "iopl ioperm"),
    ("CAP_SYS_TIME", "settimeofday stime clock_settime clock_settime64"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("CAP_SYSLOG", "syslog"),
];

/// Refused with EPERM, so that programs see a refusal rather than an old kernel.
const REFUSED: &str = "acct add_key bpf chroot clock_settime delete_module fanotify_init finit_module \
init_module io_uring_enter io_uring_register io_uring_setup ioperm iopl kcmp kexec_file_load kexec_load \
keyctl lookup_dcookie mbind mount move_mount move_pages open_by_handle_at perf_event_open pivot_root quotactl \
reboot request_key set_mempolicy setdomainname sethostname setns settimeofday swapoff swapon syslog umount2 \
unshare userfaultfd vhangup vm86 vm86old";

/// All namespace flags of clone but CLONE_NEWCGROUP's own bit counted in: a container may not make namespaces.
const NAMESPACE_FLAGS: u64 = 0x7E02_0000;

fn names(list: &str) -> Vec<&str> {
    list.split_whitespace().collect()
}

/// The filter as a runtime specification's `linux.seccomp`, for a process with these capabilities.
pub fn default_profile(capabilities: &[String]) -> Value {
    let has = |name: &str| capabilities.iter().any(|capability| capability == name);
    let mut allowed = names(ALWAYS);
    for (capability, list) in WITH {
        if has(capability) {
            allowed.extend(names(list));
        }
    }
    allowed.sort_unstable();
    allowed.dedup();
    let refused: Vec<&str> = names(REFUSED).into_iter().filter(|name| !allowed.contains(name)).collect();
    let mut rules = vec![
        json!({"names": allowed, "action": "SCMP_ACT_ALLOW"}),
        json!({"names": refused, "action": "SCMP_ACT_ERRNO", "errnoRet": 1}),
        // AF_ALG 38 and AF_VSOCK 40 reach the node
        json!({"names": ["socket"], "action": "SCMP_ACT_ALLOW",
               "args": [{"index": 0, "value": 38, "op": "SCMP_CMP_LT"}]}),
        json!({"names": ["socket"], "action": "SCMP_ACT_ALLOW",
               "args": [{"index": 0, "value": 39, "op": "SCMP_CMP_EQ"}]}),
        json!({"names": ["socket"], "action": "SCMP_ACT_ALLOW",
               "args": [{"index": 0, "value": 40, "op": "SCMP_CMP_GT"}]}),
    ];
    for persona in [0u64, 8, 0x20000, 0x20008, 0xffff_ffff] {
        rules.push(json!({"names": ["personality"], "action": "SCMP_ACT_ALLOW",
                          "args": [{"index": 0, "value": persona, "op": "SCMP_CMP_EQ"}]}));
    }
    if !has("CAP_SYS_ADMIN") {
        rules.push(json!({"names": ["clone"], "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": NAMESPACE_FLAGS, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]}));
        // its flags are behind a pointer: libc falls back to clone
        rules.push(json!({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}));
    }
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 38,
        "architectures": architectures(),
        "syscalls": rules,
    })
}

fn architectures() -> Vec<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => vec!["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "aarch64" => vec!["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
        _ => Vec::new(),
    }
}

/// Profiles that were compiled already: a node has a handful, and compiling one takes longer than the rest of
/// a container's creation.
#[derive(Default)]
pub struct Filters(Mutex<HashMap<String, Arc<Vec<u8>>>>);

impl Filters {
    /// Flags and program for [`crate::host::filter::Filter`].
    pub fn compiled(&self, profile: &Value) -> Result<Arc<Vec<u8>>, String> {
        let key = profile.to_string();
        if let Some(found) = self.0.lock().get(&key) {
            return Ok(found.clone());
        }
        let made = Arc::new(compile(&key).map_err(|error| format!("seccomp profile: {error}"))?);
        self.0.lock().insert(key, made.clone());
        Ok(made)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    default_errno_ret: Option<i32>,
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(default)]
    flags: Vec<String>,
    #[serde(default)]
    syscalls: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    names: Vec<String>,
    action: String,
    errno_ret: Option<i32>,
    #[serde(default)]
    args: Option<Vec<Argument>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u32,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

impl Argument {
    fn compare(&self) -> Result<ScmpArgCompare, String> {
        let op: ScmpCompareOp = self.op.parse().map_err(|_| format!("unknown operator {:?}", self.op))?;
        Ok(match op {
            ScmpCompareOp::MaskedEqual(_) => {
                ScmpArgCompare::new(self.index, ScmpCompareOp::MaskedEqual(self.value), self.value_two)
            }
            op => ScmpArgCompare::new(self.index, op, self.value),
        })
    }
}

fn action(name: &str, errno: Option<i32>) -> Result<ScmpAction, String> {
    match ScmpAction::from_str(name, errno.or(Some(libc::EPERM))) {
        Ok(ScmpAction::Notify) => Err("SCMP_ACT_NOTIFY needs a listener, which this runtime has not".into()),
        Ok(action) => Ok(action),
        Err(_) => Err(format!("unknown action {name:?}")),
    }
}

/// As seccomp(2) numbers them.
fn flag(name: &str) -> Result<u32, String> {
    match name {
        // one thread loads it, before the command exists
        "SECCOMP_FILTER_FLAG_TSYNC" => Ok(0),
        "SECCOMP_FILTER_FLAG_LOG" => Ok(libc::SECCOMP_FILTER_FLAG_LOG as u32),
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => Ok(libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW as u32),
        other => Err(format!("unknown flag {other:?}")),
    }
}

/// Ported behaviour: runc `libcontainer/seccomp/seccomp_linux.go`: calls that this machine does not know are
/// left out, and several conditions on one argument are rules of their own.
fn compile(profile: &str) -> Result<Vec<u8>, String> {
    let profile: Profile = serde_json::from_str(profile).map_err(|error| error.to_string())?;
    let words = |error: libseccomp::error::SeccompError| error.to_string();
    let default = action(&profile.default_action, profile.default_errno_ret)?;
    let mut context = ScmpFilterContext::new(default).map_err(words)?;
    for name in &profile.architectures {
        let arch: ScmpArch = name.parse().map_err(|_| format!("unknown architecture {name:?}"))?;
        context.add_arch(arch).map_err(words)?;
    }
    for rule in &profile.syscalls {
        add(&mut context, rule, default)?;
    }
    let mut bytes = Vec::new();
    let flags = profile.flags.iter().try_fold(0, |all, name| Ok::<u32, String>(all | flag(name)?))?;
    bytes.extend_from_slice(&flags.to_le_bytes());
    bytes.extend(export(&context).map_err(|error| error.to_string())?);
    Ok(bytes)
}

fn add(context: &mut ScmpFilterContext, rule: &Rule, default: ScmpAction) -> Result<(), String> {
    let words = |error: libseccomp::error::SeccompError| error.to_string();
    let action = action(&rule.action, rule.errno_ret)?;
    if action == default {
        return Ok(());
    }
    let conditions: Vec<ScmpArgCompare> =
        rule.args.iter().flatten().map(Argument::compare).collect::<Result<_, _>>()?;
    let mut indices: Vec<u32> = rule.args.iter().flatten().map(|argument| argument.index).collect();
    indices.sort_unstable();
    indices.dedup();
    for call in rule.names.iter().filter_map(|name| ScmpSyscall::from_name(name).ok()) {
        let added = match conditions.len() {
            0 => context.add_rule(action, call).map(drop),
            many if many == indices.len() => {
                context.add_rule_conditional(action, call, &conditions).map(drop)
            }
            _ => conditions.iter().try_for_each(|one| {
                context.add_rule_conditional(action, call, std::slice::from_ref(one)).map(drop)
            }),
        };
        added.map_err(words)?;
    }
    Ok(())
}

fn export(context: &ScmpFilterContext) -> std::io::Result<Vec<u8>> {
    use std::io::{Read, Seek};
    let memory = nix::sys::memfd::memfd_create(c"seccomp", nix::sys::memfd::MFdFlags::MFD_CLOEXEC)?;
    context.export_bpf(&memory).map_err(std::io::Error::other)?;
    let mut file = std::fs::File::from(memory);
    file.rewind()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_capability_guards_needs_it() {
        let allowed = |capabilities: &[&str], call: &str| {
            let capabilities: Vec<String> = capabilities.iter().map(|one| (*one).to_owned()).collect();
            let profile = default_profile(&capabilities);
            let names = profile["syscalls"][0]["names"].as_array().unwrap().clone();
            names.iter().any(|name| name == call)
        };
        assert!(allowed(&[], "openat"));
        assert!(!allowed(&[], "mount"));
        assert!(allowed(&["CAP_SYS_ADMIN"], "mount"));
        assert!(!allowed(&[], "reboot"));
        assert!(!allowed(&["CAP_SYS_ADMIN"], "kexec_load"));
        assert!(allowed(&["CAP_SYS_CHROOT"], "chroot"));
    }

    #[test]
    fn profiles_are_compiled_once_and_bad_ones_say_why() {
        let filters = Filters::default();
        let profile = default_profile(&[]);
        let first = filters.compiled(&profile).expect("compiles");
        assert_eq!(first[..4], [0; 4]);
        assert!(first.len() > 1000 && (first.len() - 4) % 8 == 0, "{}", first.len());
        assert!(Arc::ptr_eq(&first, &filters.compiled(&profile).expect("cached")));
        for (profile, words) in [
            (json!({"defaultAction": "SCMP_ACT_NOPE"}), "unknown action"),
            (json!({"defaultAction": "SCMP_ACT_NOTIFY"}), "listener"),
            (json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["X"]}), "unknown flag"),
            (json!({}), "missing field `defaultAction`"),
        ] {
            assert!(filters.compiled(&profile).unwrap_err().contains(words), "{profile}");
        }
    }
}
