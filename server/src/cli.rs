//! The command line, declared. What each verb does is in `verbs`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::profile::RuntimeKind;
use crate::rest::Scope;
use crate::ui::Format;

/// One binary that is a whole Kubernetes cluster.
#[derive(Debug, Parser)]
#[command(name = "sampan", version, arg_required_else_help = true)]
pub struct Cli {
    /// The cluster to work on
    #[arg(short, long, global = true, default_value = "sampan", env = "SAMPAN_PROFILE")]
    pub profile: String,
    /// Form of the output
    #[arg(short, long, global = true, value_enum, default_value = "text")]
    pub output: Format,
    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
}

/// What can be done.
#[derive(Debug, Subcommand)]
// there is one, and it is taken apart at once
#[allow(clippy::large_enum_variant)]
pub enum Verb {
    /// Start the cluster; returns when the node is Ready
    Start(Start),
    /// Stop the cluster and its pods; nothing is lost
    ///
    /// Containers get TERM (or the stop signal of their own), all at once, and are killed after at most ten seconds,
    /// whatever their grace period; preStop hooks are not run.
    Stop {
        /// Stop the control plane only; containers go on running
        #[arg(long)]
        keep_pods: bool,
    },
    /// Show what runs; the exit code has a bit for what does not (1 host, 2 cluster, 4 Kubernetes)
    Status,
    /// Delete the cluster with everything in it
    Delete {
        /// Every cluster of this machine
        #[arg(long)]
        all: bool,
    },
    /// The clusters of this machine
    #[command(subcommand)]
    Profile(Profile),
    /// Show what the cluster's components said
    Logs {
        /// etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubelet, simulator or sampan (the daemon); all if none
        component: Option<String>,
        /// Go on as more is said
        #[arg(short, long)]
        follow: bool,
        /// Only the last lines
        #[arg(long, default_value_t = 200)]
        tail: usize,
    },
    /// Run kubectl against this cluster: sampan kubectl -- get pods
    Kubectl {
        /// kubectl's own arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// The images that pods start from
    #[command(subcommand)]
    Image(Image),
    /// Show how this machine itself finds names of the cluster, and have it do so
    Dns {
        /// What to do; shows the line for the host's resolver if none
        #[command(subcommand)]
        verb: Option<Dns>,
    },
    /// Open the dashboard in a browser, signed in, or print an address that does so once
    Dashboard {
        /// Only print the address; it is good for two minutes and one use
        #[arg(long)]
        url: bool,
    },
    /// What the cluster can do besides: dns, ingress, storage …, and packages of your own
    #[command(subcommand)]
    Addons(Addons),
    /// Tokens by which tools use the REST API and the Kubernetes API
    #[command(subcommand)]
    Token(Token),
    /// Have nodes that behave like kubelets without containers; shows those that there are if told nothing
    Simulate(Simulate),
    /// Apply the built-in demo and wait until it answers
    Demo,
    /// Save the database of the running cluster to a file
    Backup {
        /// The file to write; must not exist
        file: PathBuf,
    },
    /// Show the version
    Version {
        /// Only the number
        #[arg(long)]
        short: bool,
    },
    /// Print completions for a shell
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Run the node daemon in the foreground (what `start` starts)
    #[command(hide = true)]
    Daemon,
}

/// Settings of a cluster; kept for later starts.
#[derive(Debug, Default, Args)]
pub struct Start {
    /// Port of the API server on 127.0.0.1 (default: the last start's; at first 6443 or the next free one)
    #[arg(long)]
    pub apiserver_port: Option<u16>,
    /// What runs containers
    #[arg(long, value_enum)]
    pub container_runtime: Option<RuntimeKind>,
    /// Mirror of docker.io, such as http://127.0.0.1:5000; may be given more than once
    #[arg(long, value_delimiter = ',')]
    pub registry_mirror: Vec<String>,
    /// Registry to speak to without TLS, such as 10.0.0.5:5000; may be given more than once
    #[arg(long, value_delimiter = ',')]
    pub insecure_registry: Vec<String>,
    /// Country whose image mirrors to use: cn
    #[arg(long)]
    pub image_mirror_country: Option<String>,
    /// The node's name (default: the host's); fixed when the cluster is made
    #[arg(long)]
    pub node_name: Option<String>,
    /// Addresses for pods (default: 10.244.0.0/16, or the next block that the host does not use)
    #[arg(long)]
    pub pod_cidr: Option<String>,
    /// Addresses for Services (default: 10.96.0.0/12, or the next block that the host does not use); fixed when the
    /// cluster is made
    #[arg(long)]
    pub service_cidr: Option<String>,
    /// Port of the dashboard on 127.0.0.1 (default: the last start's; at first 6480 or the next free one)
    #[arg(long)]
    pub dashboard_port: Option<u16>,
    /// Address of the dashboard behind a proxy, such as https://ops.example/sampan/; may be given more than once
    #[arg(long, value_delimiter = ',')]
    pub dashboard_url: Vec<String>,
    /// File with the scheduler's profiles (KubeSchedulerConfiguration, kubescheduler.config.k8s.io/v1); empty for none
    #[arg(long, value_name = "FILE")]
    pub scheduler_config: Option<PathBuf>,
    /// Seconds to wait until the node is Ready
    #[arg(long, default_value_t = 60)]
    pub wait_timeout: u64,
    /// Leave the current kubectl context as it is
    #[arg(long)]
    pub keep_context: bool,
    /// File (apiserver.config.k8s.io/v1 AuthenticationConfiguration) that names issuers of tokens; empty for none
    #[arg(long, value_name = "FILE")]
    pub authentication_config: Option<PathBuf>,
    /// What is recorded of requests
    #[command(flatten)]
    pub audit: crate::audit::Flags,
}

/// Which simulated nodes there are to be, or what becomes of them.
#[derive(Debug, Args)]
pub struct Simulate {
    /// How many there are to be; more are removed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub nodes: Option<u32>,
    /// Zones in which they lie, in turn: zone-1, zone-2 …
    #[arg(long, value_name = "Z", requires = "nodes", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub zones: u32,
    /// Pods that each of them takes
    #[arg(long, value_name = "P", requires = "nodes", default_value_t = 110, value_parser = clap::value_parser!(u32).range(1..))]
    pub pods_per_node: u32,
    /// Capacity of the nodes and behaviour of their pods, YAML or JSON (`--profile` names the cluster)
    #[arg(long, value_name = "FILE", requires = "nodes")]
    pub profile_file: Option<PathBuf>,
    /// Without the taint kwok.x-k8s.io/node=fake:NoSchedule: pods that do not tolerate it come as well
    #[arg(long, requires = "nodes")]
    pub no_taint: bool,
    /// Remove them with their pods
    #[arg(long, conflicts_with_all = ["nodes", "fail_zone", "recover_zone"])]
    pub delete: bool,
    /// Have all simulated nodes of a zone fall silent, as if it had lost its power
    #[arg(long, value_name = "ZONE", conflicts_with_all = ["nodes", "recover_zone"])]
    pub fail_zone: Option<String>,
    /// Have the nodes of a zone come back
    #[arg(long, value_name = "ZONE", conflicts_with = "nodes")]
    pub recover_zone: Option<String>,
}

/// What can be done with clusters as such.
#[derive(Debug, Subcommand)]
pub enum Profile {
    /// List the clusters
    #[command(alias = "ls")]
    List,
}

/// What can be done with the host's resolver.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Dns {
    /// Send the cluster's names to its DNS (needs systemd-resolved)
    Enable,
    /// Take that back
    Disable,
}

/// What can be done with images.
#[derive(Debug, Subcommand)]
pub enum Image {
    /// List the images
    #[command(alias = "list")]
    Ls,
    /// Pull an image from its registry
    Pull {
        /// Its name, such as nginx:alpine
        image: String,
    },
    /// Load images from a docker-save or OCI archive
    Load {
        /// The archive
        archive: PathBuf,
    },
    /// Remove images
    #[command(alias = "remove")]
    Rm {
        /// Their names
        #[arg(required = true)]
        images: Vec<String>,
    },
}

/// What can be done with tokens.
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a token and print it; it is not shown again
    Create {
        /// A name for it
        name: String,
        /// What it may do: read sees (no Secrets), operate changes, admin does everything
        #[arg(long, value_enum, default_value = "read")]
        scope: Scope,
        /// How long it is good, such as 12h or 90d
        #[arg(long, default_value = "30d")]
        expires: String,
    },
    /// List the tokens
    #[command(alias = "list")]
    Ls,
    /// Revoke tokens: they are good for nothing from now on
    #[command(alias = "revoke")]
    Rm {
        /// Their names
        #[arg(required = true)]
        names: Vec<String>,
    },
}

/// What can be done with addons.
#[derive(Debug, Subcommand)]
pub enum Addons {
    /// List the addons with what they are and how they are
    #[command(alias = "ls")]
    List,
    /// Turn an addon on; returns when it serves (what it lacks, such as one of its ports, is said), and takes everything back if it does not
    Enable {
        /// Its name, as `list` shows it
        name: String,
        /// A value of its configuration, such as `a.b[0]=x`; JSON or text; may be given more than once
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
        /// Seconds to wait until it is healthy (default: 30, for packages 180)
        #[arg(long)]
        wait_timeout: Option<u64>,
    },
    /// Turn an addon off and take its objects away; its configuration is kept
    Disable {
        /// Its name
        name: String,
    },
    /// Show the configuration and what it means, or change it; an enabled addon follows at once
    Configure {
        /// Its name
        name: String,
        /// A new value, such as `a.b[0]=x`; JSON or text; may be given more than once
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
        /// A value whose default is to hold again; may be given more than once
        #[arg(long, value_name = "KEY")]
        unset: Vec<String>,
    },
    /// Open the addon's page in a browser, or print its address
    Open {
        /// Its name
        name: String,
        /// Only print the address
        #[arg(long)]
        url: bool,
    },
    /// Show the images that an addon uses
    Images {
        /// Its name
        name: String,
    },
    /// Add a package: a folder, a .tar.gz, a git URL (URL#REF:FOLDER) or oci://REGISTRY/NAME:TAG
    Add {
        /// Where it is
        source: String,
        /// Another name for it
        #[arg(long)]
        name: Option<String>,
    },
    /// Take a package out with everything that it made
    #[command(alias = "rm")]
    Remove {
        /// Its name
        name: String,
    },
    /// Show what an addon, and a package's pods, said
    Logs {
        /// Its name
        name: String,
        /// Go on as more is said
        #[arg(short, long)]
        follow: bool,
        /// Only the last lines
        #[arg(long, default_value_t = 200)]
        tail: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_declaration_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_is_a_word_too() {
        let error = Cli::try_parse_from(["sampan", "help", "start"]).expect_err("help is no verb to run");
        assert!(!error.use_stderr() && error.to_string().contains("--apiserver-port"), "{error}");
    }

    #[test]
    fn delete_takes_one_or_all() {
        let all = |words: &[&str]| match Cli::try_parse_from(words).expect("parses").verb {
            Verb::Delete { all } => all,
            other => panic!("{other:?}"),
        };
        assert!(all(&["sampan", "delete", "--all"]) && !all(&["sampan", "delete", "-p", "two"]));
    }
}
