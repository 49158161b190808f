//! The numbers that sampan is built for, each measured beside a peer in the same minute: `sampan-bench all`.
//!
//! Rounds of both sides are interleaved, and the table shows medians with the smallest and largest round: on a
//! shared machine the ratio is the figure, not the milliseconds. How each one is taken is said at the top of
//! its module. A peer that is missing is an error that names its package, never a silent hole.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod addons;
mod apply;
mod copy;
mod crds;
mod create;
mod dashboard;
mod dns;
mod figure;
mod get;
mod held;
mod idle;
mod ingress;
mod list;
mod machine;
mod nginx;
mod peers;
mod pods;
mod post;
mod scheduler;
mod services;
mod size;
mod start;
mod store;
mod tls;
mod watch;

use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};

use figure::Figure;
use machine::Machine;

/// Measures sampan beside its peers.
#[derive(Debug, Parser)]
#[command(name = "sampan-bench")]
struct Cli {
    /// What to measure
    #[arg(value_enum, default_value = "all")]
    what: What,
    /// The binary to measure (default: the one beside this program)
    #[arg(long)]
    sampan: Option<PathBuf>,
    /// Fewer rounds and shorter waits, for a first look; the table says so
    #[arg(long)]
    short: bool,
    /// Form of the output
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Everything
    All,
    /// Cold start and restart, beside etcd
    Start,
    /// One pod at a time, beside runc and docker
    Pod,
    /// A hundred pods at once
    Burst,
    /// Memory, processor and disk of an idle cluster
    Idle,
    /// Durable writes, beside etcd
    Store,
    /// GET of one pod over TLS, beside nginx
    Get,
    /// LIST of 10,000 and 50,000 pods over TLS, beside nginx and a plain copy; protobuf; memory of a list
    List,
    /// CREATE through the whole chain over TLS, beside etcd and fdatasync
    Create,
    /// 1,000 watchers of one busy resource
    Watch,
    /// Processor time of a server-side apply
    Apply,
    /// 1,000 custom resource definitions: installing them, starting with them
    Crds,
    /// Memory of the objects held, beside their bytes
    Held,
    /// Rules of 10,000 services, beside a chain for each
    Services,
    /// One more service in a cluster of 10,000
    Post,
    /// Answers of the cluster DNS, beside unbound
    Dns,
    /// Requests through the ingress, beside nginx
    Ingress,
    /// Memory of every native addon
    Addons,
    /// Size of the binary
    Size,
    /// The dashboard in Chromium: start, long lists, events, memory
    Dashboard,
    /// Pods bound on 5,000 simulated nodes, in the shapes of scheduler_perf
    Scheduler,
    /// Deployments and a Job of thousands of simulated pods
    Workloads,
    /// 5,000 simulated nodes: how they join, and what they cost
    Nodes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A table in Markdown
    Text,
    /// For programs
    Json,
}

/// The variable by which the testkit finds the binary.
const BINARY: &str = "SAMPAN_BINARY";

fn main() -> Result<()> {
    let cli = Cli::parse();
    match (&cli.sampan, std::env::var_os(BINARY)) {
        (None, Some(_)) => run(&cli),
        (Some(path), Some(set)) if set.as_os_str() == path.canonicalize()?.as_os_str() => run(&cli),
        (path, _) => again(path.clone()),
    }
}

/// Runs this program anew with the binary named in the environment, where the testkit looks.
fn again(binary: Option<PathBuf>) -> Result<()> {
    let this = std::env::current_exe()?;
    let binary = binary.unwrap_or_else(|| this.with_file_name("sampan"));
    let binary = binary.canonicalize().with_context(|| format!("{}: build it first", binary.display()))?;
    Err(std::process::Command::new(this).args(std::env::args_os().skip(1)).env(BINARY, binary).exec().into())
}

fn run(cli: &Cli) -> Result<()> {
    // a second call finds it installed
    let _ = rustls::crypto::ring::default_provider().install_default();
    let machine = Machine::here();
    let all = [
        What::Size,
        What::Store,
        What::Services,
        What::Post,
        What::Dns,
        What::Ingress,
        What::Start,
        What::Pod,
        What::Burst,
        What::Get,
        What::List,
        What::Create,
        What::Watch,
        What::Apply,
        What::Crds,
        What::Held,
        What::Idle,
        What::Addons,
        What::Dashboard,
        What::Scheduler,
        What::Workloads,
        What::Nodes,
    ];
    let wanted = if cli.what == What::All { &all[..] } else { std::slice::from_ref(&cli.what) };
    let mut figures = Vec::new();
    let mut failures = Vec::new();
    for what in wanted {
        eprintln!("--- {what:?}");
        match measure(*what, cli.short) {
            Ok(measured) => {
                measured.iter().for_each(|figure| eprintln!("{}", figure.row()));
                figures.extend(measured);
            }
            // the other figures are still worth having; the run fails at its end
            Err(error) => failures.push(format!("{what:?}: {error:#}")),
        }
    }
    show(cli, &machine, &figures);
    anyhow::ensure!(failures.is_empty(), "not measured: {}", failures.join("; "));
    Ok(())
}

fn measure(what: What, short: bool) -> Result<Vec<Figure>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match what {
        What::Start => runtime.block_on(start::measure(short)),
        What::Pod => runtime.block_on(pods::one_at_a_time(short)),
        What::Burst => runtime.block_on(pods::burst(short)),
        What::Idle => runtime.block_on(idle::measure(short)),
        What::Store => runtime.block_on(store::compare()),
        What::Get => runtime.block_on(get::measure(short)),
        What::List => runtime.block_on(list::measure(short)),
        What::Create => runtime.block_on(create::measure(short)),
        What::Watch => runtime.block_on(watch::measure(short)),
        What::Apply => runtime.block_on(apply::measure(short)),
        What::Crds => runtime.block_on(crds::measure(short)),
        What::Held => runtime.block_on(held::measure(short)),
        What::Services => services::measure(short),
        What::Post => runtime.block_on(post::measure(short)),
        What::Dns => runtime.block_on(dns::measure(short)),
        What::Ingress => runtime.block_on(ingress::measure(short)),
        What::Addons => runtime.block_on(addons::measure(short)),
        What::Dashboard => runtime.block_on(dashboard::measure(short)),
        What::Scheduler => runtime.block_on(scheduler::measure(short)),
        What::Workloads => runtime.block_on(scheduler::workloads(short)),
        What::Nodes => runtime.block_on(scheduler::joining(short)),
        What::Size => size::measure(),
        What::All => Ok(Vec::new()),
    }
}

fn show(cli: &Cli, machine: &Machine, figures: &[Figure]) {
    match cli.output {
        Output::Json => {
            let rows: Vec<_> = figures.iter().map(Figure::json).collect();
            println!(
                "{}",
                serde_json::json!({"machine": machine.json(), "short": cli.short, "figures": rows})
            );
        }
        Output::Text => {
            let short = if cli.short { " Taken with `--short`: fewer rounds, shorter waits." } else { "" };
            println!(
                "\nMedians (smallest–largest round). {}.{short}\n\n{}",
                machine.text(),
                figure::table(figures)
            );
        }
    }
}
