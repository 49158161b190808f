//! What the command line says, in English and Simplified Chinese.
//!
//! One enum, one `match` per language, so that a message without a translation does not compile. Error
//! details that come from the kernel, a registry or the API stay as they are.

use crate::failure::Kind;

/// A language of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locale {
    /// English.
    English,
    /// 简体中文.
    Chinese,
}

impl Locale {
    /// The user's, from `LC_ALL`, `LC_MESSAGES`, `LANG`, or the system.
    pub fn detect() -> Self {
        let from_environment = ["LC_ALL", "LC_MESSAGES", "LANG"]
            .iter()
            .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
        Self::of(&from_environment.or_else(sys_locale::get_locale).unwrap_or_default())
    }

    fn of(name: &str) -> Self {
        if name.to_ascii_lowercase().starts_with("zh") { Locale::Chinese } else { Locale::English }
    }
}

/// Everything that is said on the way.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[allow(missing_docs)] // the English text below says what each is
pub enum Message {
    Greeting { version: String, system: String },
    AlreadyRunning { profile: String },
    Starting { profile: String, runtime: String },
    Restarting { profile: String, runtime: String },
    PreparingKubernetes { version: String },
    GeneratingCertificates,
    OpeningStore,
    StartingControlPlane,
    ServingAt { address: String },
    StartingRuntime { runtime: String },
    ConfiguringNetwork { cidr: String },
    VerifyingComponents,
    Kubeconfig { path: String },
    Done { context: String },
    Stopping { profile: String },
    StoppingPods { count: usize },
    Stopped { profile: String },
    NotRunning { profile: String },
    Deleting { profile: String },
    Deleted { profile: String },
    NothingToDelete { profile: String },
    Pulling { image: String },
    Pulled { image: String },
    Loading { path: String },
    Loaded { image: String },
    Removed { image: String },
    Saved { path: String },
    DemoApplied,
    DemoRunning { pod: String, url: String },
    TryNext,
    KeptPods { count: usize },
    DoneKeptContext { context: String },
    TakesEffectLater { flags: String },
    OtherPort { wanted: u16, port: u16 },
    OtherDashboardPort { wanted: u16, port: u16 },
    KubeconfigLeft { path: String, why: String },
    AddonEnabling { name: String },
    AddonDisabling { name: String },
    AddonApplying,
    AddonWaiting { reason: String },
    AddonChecking { check: String },
    AddonRollingBack { reason: String },
    AddonPruning,
    AddonEnabled { name: String },
    AddonDisabled { name: String },
    AddonConfigured { name: String },
    AddonFetching { source: String },
    AddonAdded { name: String, version: String },
    AddonRemoved { name: String },
    AddonUnwell { name: String, reason: String, next: String },
    AddonAsk,
    AddonPage { name: String, url: String },
    TokenMade { name: String, scope: String, expires: String },
    TokenRevoked { name: String },
    HostDnsOn { domain: String },
    HostDnsOff { domain: String },
    SimulateMaking { done: usize, total: usize },
    SimulateWaiting { left: usize },
    SimulateDone { nodes: usize, ready: usize },
    SimulateRemoving { done: usize, total: usize },
    SimulateDeleted,
    SimulateTelling { done: usize, total: usize },
    SimulateFailed { zone: String },
    SimulateRecovered { zone: String },
}

impl Message {
    /// The emoji that opens the line on a terminal, as minikube's users know them.
    pub fn emoji(&self) -> &'static str {
        match self {
            Message::Greeting { .. } => "😄",
            Message::AlreadyRunning { .. } | Message::Restarting { .. } => "🏃",
            Message::Starting { .. } => "👍",
            Message::PreparingKubernetes { .. } => "🚢",
            Message::GeneratingCertificates
            | Message::OpeningStore
            | Message::StartingControlPlane
            | Message::ServingAt { .. } => "▪",
            Message::StartingRuntime { .. } => "📦",
            Message::ConfiguringNetwork { .. } => "🔗",
            Message::VerifyingComponents => "🔎",
            Message::Kubeconfig { .. } => "🔑",
            Message::Done { .. } | Message::DoneKeptContext { .. } | Message::DemoRunning { .. } => "🏄",
            Message::Stopping { .. } | Message::StoppingPods { .. } => "✋",
            Message::Stopped { .. } | Message::KeptPods { .. } => "🛑",
            Message::NotRunning { .. } | Message::NothingToDelete { .. } => "🤷",
            Message::Deleting { .. } => "🔥",
            Message::Deleted { .. } | Message::Removed { .. } => "💀",
            Message::Pulling { .. } | Message::Loading { .. } => "🚜",
            Message::Pulled { .. } | Message::Loaded { .. } | Message::Saved { .. } => "✅",
            Message::DemoApplied => "🌟",
            Message::TryNext => "💡",
            Message::HostDnsOn { .. } | Message::HostDnsOff { .. } => "🔎",
            Message::AddonEnabling { .. } | Message::AddonEnabled { .. } => "🌟",
            Message::AddonDisabling { .. } | Message::AddonDisabled { .. } => "🌑",
            Message::AddonApplying
            | Message::AddonPruning
            | Message::AddonWaiting { .. }
            | Message::AddonChecking { .. } => "▪",
            Message::AddonRollingBack { .. } => "↩️",
            Message::AddonConfigured { .. } | Message::AddonAdded { .. } => "✅",
            Message::AddonFetching { .. } => "🚜",
            Message::AddonRemoved { .. } => "💀",
            Message::AddonUnwell { .. } => "❗",
            Message::AddonAsk => "💡",
            Message::AddonPage { .. } => "🎉",
            Message::TokenMade { .. } | Message::TokenRevoked { .. } => "🔑",
            Message::SimulateMaking { .. }
            | Message::SimulateWaiting { .. }
            | Message::SimulateRemoving { .. }
            | Message::SimulateTelling { .. } => "▪",
            Message::SimulateDone { .. } | Message::SimulateRecovered { .. } => "✅",
            Message::SimulateDeleted => "💀",
            Message::TakesEffectLater { .. }
            | Message::OtherPort { .. }
            | Message::OtherDashboardPort { .. }
            | Message::KubeconfigLeft { .. }
            | Message::SimulateFailed { .. } => "❗",
        }
    }

    /// Whether the line belongs under the one before it.
    pub fn is_detail(&self) -> bool {
        self.emoji() == "▪"
    }

    /// A name for tools, stable over versions.
    pub fn name(&self) -> &'static str {
        match self {
            Message::Greeting { .. } => "Initial sampan Setup",
            Message::AlreadyRunning { .. } => "Already Running",
            Message::Starting { .. } | Message::Restarting { .. } => "Starting Node",
            Message::PreparingKubernetes { .. } => "Preparing Kubernetes",
            Message::GeneratingCertificates => "Generating certificates",
            Message::OpeningStore => "Opening Store",
            Message::StartingControlPlane => "Booting Control Plane",
            Message::ServingAt { .. } => "Serving API",
            Message::StartingRuntime { .. } => "Starting Container Runtime",
            Message::ConfiguringNetwork { .. } => "Configuring Pod Network",
            Message::VerifyingComponents => "Verifying Kubernetes",
            Message::Kubeconfig { .. } => "Updating Kubeconfig",
            Message::Done { .. } | Message::DoneKeptContext { .. } => "Done",
            Message::Stopping { .. } | Message::StoppingPods { .. } => "Stopping",
            Message::Stopped { .. } | Message::KeptPods { .. } => "Stopped",
            Message::NotRunning { .. } => "Not Running",
            Message::Deleting { .. } => "Deleting",
            Message::Deleted { .. } => "Deleted",
            Message::NothingToDelete { .. } => "Nothing To Delete",
            Message::Pulling { .. } => "Pulling Image",
            Message::Pulled { .. } => "Pulled Image",
            Message::Loading { .. } => "Loading Image",
            Message::Loaded { .. } => "Loaded Image",
            Message::Removed { .. } => "Removed Image",
            Message::Saved { .. } => "Saved Backup",
            Message::DemoApplied => "Applying Demo",
            Message::DemoRunning { .. } => "Demo Running",
            Message::TryNext => "Next Commands",
            Message::TakesEffectLater { .. } => "Takes Effect Later",
            Message::OtherPort { .. } => "Other Port",
            Message::OtherDashboardPort { .. } => "Other Dashboard Port",
            Message::KubeconfigLeft { .. } => "Kubeconfig Left",
            Message::AddonEnabling { .. } => "Enabling Addon",
            Message::AddonDisabling { .. } => "Disabling Addon",
            Message::AddonApplying => "Applying Addon",
            Message::AddonWaiting { .. } => "Verifying Addon",
            Message::AddonChecking { .. } => "Checking Addon",
            Message::AddonRollingBack { .. } => "Rolling Back Addon",
            Message::AddonPruning => "Pruning Addon",
            Message::AddonEnabled { .. } => "Enabled Addon",
            Message::AddonDisabled { .. } => "Disabled Addon",
            Message::AddonConfigured { .. } => "Configured Addon",
            Message::AddonFetching { .. } => "Fetching Package",
            Message::AddonAdded { .. } => "Added Package",
            Message::AddonRemoved { .. } => "Removed Package",
            Message::AddonUnwell { .. } => "Addon Unwell",
            Message::AddonAsk => "Asking Configuration",
            Message::AddonPage { .. } => "Addon Page",
            Message::TokenMade { .. } => "Token Made",
            Message::TokenRevoked { .. } => "Token Revoked",
            Message::HostDnsOn { .. } => "Host DNS On",
            Message::HostDnsOff { .. } => "Host DNS Off",
            Message::SimulateMaking { .. } => "Simulating Nodes",
            Message::SimulateWaiting { .. } => "Verifying Simulated Nodes",
            Message::SimulateDone { .. } => "Simulated Nodes",
            Message::SimulateRemoving { .. } => "Removing Simulated Nodes",
            Message::SimulateDeleted => "Removed Simulated Nodes",
            Message::SimulateTelling { .. } => "Telling Simulated Nodes",
            Message::SimulateFailed { .. } => "Failed Simulated Zone",
            Message::SimulateRecovered { .. } => "Recovered Simulated Zone",
        }
    }

    /// The text.
    pub fn text(&self, locale: Locale) -> String {
        match locale {
            Locale::English => self.english(),
            Locale::Chinese => self.chinese(),
        }
    }

    fn english(&self) -> String {
        match self {
            Message::Greeting { version, system } => format!("sampan {version} on {system}"),
            Message::AlreadyRunning { profile } => format!("The \"{profile}\" cluster is running already"),
            Message::Starting { profile, runtime } => {
                format!("Starting \"{profile}\" control-plane node, {runtime} runtime")
            }
            Message::Restarting { profile, runtime } => {
                format!("Starting the existing \"{profile}\" cluster, {runtime} runtime")
            }
            Message::PreparingKubernetes { version } => format!("Preparing Kubernetes {version} ..."),
            Message::GeneratingCertificates => "Generating certificates and keys ...".into(),
            Message::OpeningStore => "Opening the store ...".into(),
            Message::StartingControlPlane => "Booting up control plane ...".into(),
            Message::ServingAt { address } => format!("Serving the API at {address}"),
            Message::StartingRuntime { runtime } => format!("Starting container runtime {runtime} ..."),
            Message::ConfiguringNetwork { cidr } => format!("Configuring pod network {cidr} ..."),
            Message::VerifyingComponents => "Verifying Kubernetes components ...".into(),
            Message::Kubeconfig { path } => format!("Updated kubeconfig {path}"),
            Message::Done { context } => {
                format!(
                    "Done! kubectl is now configured to use \"{context}\" cluster and \"default\" namespace by default"
                )
            }
            Message::Stopping { profile } => format!("Stopping \"{profile}\" ..."),
            Message::StoppingPods { count } => format!("Stopping {count} pods ..."),
            Message::Stopped { profile } => {
                format!("\"{profile}\" is stopped; `sampan start` brings it back as it was")
            }
            Message::KeptPods { count } => format!("{count} pods go on running without the control plane"),
            Message::NotRunning { profile } => format!("The \"{profile}\" cluster is not running"),
            Message::Deleting { profile } => format!("Deleting \"{profile}\" ..."),
            Message::Deleted { profile } => format!("Removed all traces of the \"{profile}\" cluster"),
            Message::NothingToDelete { profile } => format!("There is no cluster \"{profile}\""),
            Message::Pulling { image } => format!("Pulling {image} ..."),
            Message::Pulled { image } => format!("{image} is present"),
            Message::Loading { path } => format!("Loading {path} ..."),
            Message::Loaded { image } => format!("Loaded {image}"),
            Message::Removed { image } => format!("Removed {image}"),
            Message::Saved { path } => format!("Saved the database to {path}"),
            Message::DemoApplied => "Applied the demo".into(),
            Message::DemoRunning { pod, url } => format!("Pod {pod} is Running and answers at {url}"),
            Message::TryNext => "Try next:".into(),
            Message::DoneKeptContext { context } => {
                format!(
                    "Done! kubectl's context was left as it is; `kubectl config use-context {context}` chooses this cluster"
                )
            }
            Message::TakesEffectLater { flags } => {
                format!("takes effect after `sampan stop` and `sampan start`: {flags}")
            }
            Message::OtherPort { wanted, port } => {
                format!("Port {wanted} is taken; the API is served on port {port} from now on")
            }
            Message::OtherDashboardPort { wanted, port } => {
                format!("Port {wanted} is taken; the dashboard is served on port {port} from now on")
            }
            Message::HostDnsOn { domain } => format!("This machine finds names in {domain}"),
            Message::HostDnsOff { domain } => format!("This machine does not ask the cluster about {domain}"),
            Message::KubeconfigLeft { path, why } => {
                format!("The cluster's entry may be left in kubeconfig {path}: {why}")
            }
            Message::AddonEnabling { name } => format!("Enabling the '{name}' addon ..."),
            Message::AddonDisabling { name } => format!("Disabling the '{name}' addon ..."),
            Message::AddonApplying => "Applying its objects ...".into(),
            Message::AddonWaiting { reason } if reason.is_empty() => "Waiting until it is healthy ...".into(),
            Message::AddonWaiting { reason } => format!("Waiting: {reason}"),
            Message::AddonChecking { check } => format!("Checking: {check}"),
            Message::AddonRollingBack { reason } => format!("Rolling back: {reason}"),
            Message::AddonPruning => "Taking its objects away ...".into(),
            Message::AddonEnabled { name } => format!("The '{name}' addon is enabled"),
            Message::AddonDisabled { name } => format!("The '{name}' addon is disabled"),
            Message::AddonConfigured { name } => format!("The '{name}' addon is configured"),
            Message::AddonFetching { source } => format!("Fetching {source} ..."),
            Message::AddonAdded { name, version } => {
                format!("Added {name} {version}; `sampan addons enable {name}` turns it on")
            }
            Message::AddonRemoved { name } => format!("Removed {name} and everything that it made"),
            Message::AddonUnwell { name, reason, next } if next.is_empty() => format!("{name}: {reason}"),
            Message::AddonUnwell { name, reason, next } => format!("{name}: {reason}; {next}"),
            Message::AddonAsk => "New values; nothing keeps what is there:".into(),
            Message::AddonPage { name, url } => format!("Opening {name} at {url} in the browser"),
            Message::TokenMade { name, scope, expires } => {
                format!("Made token {name} ({scope}, good until {expires}); it is not shown again:")
            }
            Message::TokenRevoked { name } => format!("Revoked token {name}"),
            Message::SimulateMaking { done, total } => format!("Simulated nodes made: {done} of {total}"),
            Message::SimulateWaiting { left } => format!("Waiting for {left} of them ..."),
            Message::SimulateDone { nodes, ready } => format!("{nodes} simulated nodes, {ready} Ready"),
            Message::SimulateRemoving { done, total } => {
                format!("Simulated nodes removed: {done} of {total}")
            }
            Message::SimulateDeleted => "Removed the simulated nodes and their pods".into(),
            Message::SimulateTelling { done, total } => format!("Simulated nodes told: {done} of {total}"),
            Message::SimulateFailed { zone } => {
                format!(
                    "The simulated nodes of {zone} say nothing any more; `sampan simulate --recover-zone {zone}` brings them back"
                )
            }
            Message::SimulateRecovered { zone } => format!("The simulated nodes of {zone} are back"),
        }
    }

    fn chinese(&self) -> String {
        match self {
            Message::Greeting { version, system } => format!("{system} 上的 sampan {version}"),
            Message::AlreadyRunning { profile } => format!("集群“{profile}”已在运行"),
            Message::Starting { profile, runtime } => {
                format!("正在启动“{profile}”的控制平面节点，容器运行时：{runtime}")
            }
            Message::Restarting { profile, runtime } => {
                format!("正在启动已有的集群“{profile}”，容器运行时：{runtime}")
            }
            Message::PreparingKubernetes { version } => format!("正在准备 Kubernetes {version} ..."),
            Message::GeneratingCertificates => "正在生成证书和密钥 ...".into(),
            Message::OpeningStore => "正在打开存储 ...".into(),
            Message::StartingControlPlane => "正在启动控制平面 ...".into(),
            Message::ServingAt { address } => format!("API 服务地址：{address}"),
            Message::StartingRuntime { runtime } => format!("正在启动容器运行时 {runtime} ..."),
            Message::ConfiguringNetwork { cidr } => format!("正在配置 Pod 网络 {cidr} ..."),
            Message::VerifyingComponents => "正在验证 Kubernetes 组件 ...".into(),
            Message::Kubeconfig { path } => format!("已更新 kubeconfig：{path}"),
            Message::Done { context } => {
                format!("完成！kubectl 现已配置，默认使用集群“{context}”和命名空间“default”")
            }
            Message::Stopping { profile } => format!("正在停止“{profile}” ..."),
            Message::StoppingPods { count } => format!("正在停止 {count} 个 Pod ..."),
            Message::Stopped { profile } => format!("“{profile}”已停止；运行 `sampan start` 可原样恢复"),
            Message::KeptPods { count } => format!("{count} 个 Pod 在没有控制平面的情况下继续运行"),
            Message::NotRunning { profile } => format!("集群“{profile}”未运行"),
            Message::Deleting { profile } => format!("正在删除“{profile}” ..."),
            Message::Deleted { profile } => format!("已清除集群“{profile}”的所有痕迹"),
            Message::NothingToDelete { profile } => format!("没有名为“{profile}”的集群"),
            Message::Pulling { image } => format!("正在拉取 {image} ..."),
            Message::Pulled { image } => format!("{image} 已就绪"),
            Message::Loading { path } => format!("正在加载 {path} ..."),
            Message::Loaded { image } => format!("已加载 {image}"),
            Message::Removed { image } => format!("已删除 {image}"),
            Message::Saved { path } => format!("已将数据库保存到 {path}"),
            Message::DemoApplied => "已部署示例应用".into(),
            Message::DemoRunning { pod, url } => format!("Pod {pod} 正在运行，可访问 {url}"),
            Message::TryNext => "接下来可以试试：".into(),
            Message::DoneKeptContext { context } => {
                format!(
                    "完成！kubectl 的当前上下文保持不变；运行 `kubectl config use-context {context}` 可切换到此集群"
                )
            }
            Message::TakesEffectLater { flags } => {
                format!("在运行 `sampan stop` 和 `sampan start` 之后生效：{flags}")
            }
            Message::OtherPort { wanted, port } => {
                format!("端口 {wanted} 已被占用；API 此后使用端口 {port}")
            }
            Message::OtherDashboardPort { wanted, port } => {
                format!("端口 {wanted} 已被占用；控制台此后使用端口 {port}")
            }
            Message::HostDnsOn { domain } => format!("本机可以解析 {domain} 中的名称"),
            Message::HostDnsOff { domain } => format!("本机不再向集群查询 {domain}"),
            Message::KubeconfigLeft { path, why } => {
                format!("kubeconfig {path} 中可能仍留有此集群的条目：{why}")
            }
            Message::AddonEnabling { name } => format!("正在启用插件“{name}” ..."),
            Message::AddonDisabling { name } => format!("正在停用插件“{name}” ..."),
            Message::AddonApplying => "正在应用其对象 ...".into(),
            Message::AddonWaiting { reason } if reason.is_empty() => "正在等待其就绪 ...".into(),
            Message::AddonWaiting { reason } => format!("正在等待：{reason}"),
            Message::AddonChecking { check } => format!("正在检查：{check}"),
            Message::AddonRollingBack { reason } => format!("正在回滚：{reason}"),
            Message::AddonPruning => "正在移除其对象 ...".into(),
            Message::AddonEnabled { name } => format!("插件“{name}”已启用"),
            Message::AddonDisabled { name } => format!("插件“{name}”已停用"),
            Message::AddonConfigured { name } => format!("插件“{name}”已配置"),
            Message::AddonFetching { source } => format!("正在获取 {source} ..."),
            Message::AddonAdded { name, version } => {
                format!("已添加 {name} {version}；运行 `sampan addons enable {name}` 即可启用")
            }
            Message::AddonRemoved { name } => format!("已移除 {name} 及其创建的全部对象"),
            Message::AddonUnwell { name, reason, next } if next.is_empty() => format!("{name}：{reason}"),
            Message::AddonUnwell { name, reason, next } => format!("{name}：{reason}；{next}"),
            Message::AddonAsk => "请输入新值；留空则保持不变：".into(),
            Message::AddonPage { name, url } => format!("正在浏览器中打开 {name}：{url}"),
            Message::TokenMade { name, scope, expires } => {
                format!("已创建令牌 {name}（{scope}，有效期至 {expires}），此后不再显示：")
            }
            Message::TokenRevoked { name } => format!("已吊销令牌 {name}"),
            Message::SimulateMaking { done, total } => format!("已创建模拟节点：{done}/{total}"),
            Message::SimulateWaiting { left } => format!("正在等待其中 {left} 个 ..."),
            Message::SimulateDone { nodes, ready } => format!("{nodes} 个模拟节点，{ready} 个就绪"),
            Message::SimulateRemoving { done, total } => format!("已移除模拟节点：{done}/{total}"),
            Message::SimulateDeleted => "已移除模拟节点及其 Pod".into(),
            Message::SimulateTelling { done, total } => format!("已通知模拟节点：{done}/{total}"),
            Message::SimulateFailed { zone } => {
                format!("{zone} 的模拟节点已失联；运行 `sampan simulate --recover-zone {zone}` 可恢复")
            }
            Message::SimulateRecovered { zone } => format!("{zone} 的模拟节点已恢复"),
        }
    }
}

/// The suggestion that goes with a [`Kind`] of failure.
pub struct Advice {
    english: &'static str,
    chinese: &'static str,
}

impl Advice {
    /// The suggestion for `kind`.
    pub fn of(kind: Kind) -> Advice {
        let (english, chinese) = match kind {
            Kind::Internal => (
                "This should not happen. Look at `sampan logs` and report it with that output.",
                "这不应该发生。请查看 `sampan logs` 并附上其输出进行反馈。",
            ),
            Kind::Usage => ("Run the command with --help.", "请使用 --help 查看该命令的用法。"),
            Kind::NotFound => (
                "Check the name; `sampan status` and `sampan image ls` show what there is.",
                "请检查名称；`sampan status` 和 `sampan image ls` 可列出现有内容。",
            ),
            Kind::Locked => (
                "Wait for the other sampan command to end, then try again.",
                "请等待另一个 sampan 命令结束后重试。",
            ),
            Kind::StorageFull => (
                "Free disk space; nothing was lost, and writes go on by themselves.",
                "请释放磁盘空间；数据没有丢失，写入会自动恢复。",
            ),
            Kind::PermissionDenied => (
                "Run as root (sudo sampan …): containers need the rights named above.",
                "请以 root 身份运行（sudo sampan …）：容器需要上述权限。",
            ),
            Kind::Kubeconfig => (
                "Mend or move the named file, or point KUBECONFIG at another one.",
                "请修复或移走该文件，或将 KUBECONFIG 指向其他文件。",
            ),
            Kind::HostMissing => (
                "Install what is named above (Debian, Ubuntu: apt-get install …) and try again.",
                "请安装上述缺失的组件（Debian、Ubuntu：apt-get install …）后重试。",
            ),
            Kind::PortTaken => (
                "Choose another port with --apiserver-port, or stop what listens there.",
                "请用 --apiserver-port 选择其他端口，或停止占用该端口的程序。",
            ),
            Kind::ForeignCluster => (
                "Stop the other cluster, or choose another port with --apiserver-port.",
                "请停止另一个集群，或用 --apiserver-port 选择其他端口。",
            ),
            Kind::PodNetwork => (
                "Check that nftables is installed and that the pod CIDR is free (--pod-cidr).",
                "请确认已安装 nftables，且 Pod 网段未被占用（--pod-cidr）。",
            ),
            Kind::Store => (
                "The file was not touched. Restore a backup, use a newer sampan, or `sampan delete` and start afresh.",
                "文件未被改动。请恢复备份、使用更新版本的 sampan，或运行 `sampan delete` 后重新开始。",
            ),
            Kind::Runtime => (
                "Check the runtime named above; --container-runtime chooses another.",
                "请检查上述容器运行时；可用 --container-runtime 选择其他运行时。",
            ),
            Kind::Image => (
                "Check the image's name and the registry; --registry-mirror names a mirror.",
                "请检查镜像名称和镜像仓库；可用 --registry-mirror 指定镜像源。",
            ),
            Kind::Archive => (
                "Check the file: it must be what `docker save` writes, or an OCI archive, in a tar.",
                "请检查该文件：应为 `docker save` 生成的归档或 OCI 归档（tar 格式）。",
            ),
            Kind::DaemonStart => ("Look at `sampan logs`.", "请查看 `sampan logs`。"),
            Kind::NotRunning => ("Run `sampan start`.", "请运行 `sampan start`。"),
            Kind::NodeNotReady => (
                "Look at `sampan logs` and `kubectl describe node`.",
                "请查看 `sampan logs` 和 `kubectl describe node`。",
            ),
            Kind::AddonFailed => (
                "`sampan addons logs NAME` says more; what there is now is said above.",
                "`sampan addons logs NAME` 可查看详情；当前状态见上文。",
            ),
            Kind::AddonNotFound => {
                ("`sampan addons list` shows what there is.", "`sampan addons list` 可列出所有插件。")
            }
            Kind::AddonConfiguration => (
                "`sampan addons configure NAME` shows every value and what it means.",
                "`sampan addons configure NAME` 可查看每个配置项及其含义。",
            ),
            Kind::AddonNeeds => {
                ("Run the command named above, then this one again.", "请先运行上述命令，然后重试。")
            }
            Kind::AddonOwned => (
                "Nothing was changed. Delete or rename the object if you do not need it.",
                "未做任何更改。如不再需要该对象，请将其删除或重命名。",
            ),
            Kind::AddonPackage => (
                "Mend the file named above; addons/README.md tells what a package is made of.",
                "请修正上述文件；addons/README.md 说明了插件包的组成。",
            ),
            Kind::AddonNoPage => (
                "What it does is reached in other ways: addons/NAME/README.md, `sampan addons configure NAME`.",
                "该插件以其他方式使用：见 addons/NAME/README.md 与 `sampan addons configure NAME`。",
            ),
            Kind::AddonBuiltIn => (
                "Only packages can be removed; `sampan addons disable NAME` turns an addon off.",
                "只能移除插件包；`sampan addons disable NAME` 可停用插件。",
            ),
        };
        Advice { english, chinese }
    }

    /// The text.
    pub fn text(&self, locale: Locale) -> &'static str {
        match locale {
            Locale::English => self.english,
            Locale::Chinese => self.chinese,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locale_is_the_languages() {
        for (name, locale) in [
            ("zh_CN.UTF-8", Locale::Chinese),
            ("zh-Hans-CN", Locale::Chinese),
            ("C.UTF-8", Locale::English),
            ("en_US.UTF-8", Locale::English),
            ("", Locale::English),
        ] {
            assert_eq!(Locale::of(name), locale, "{name}");
        }
    }
}
