//! sampan: one binary that is a whole Kubernetes cluster.
//!
//! Parse → run a verb → exit code. The verb `daemon` is the cluster itself; the hidden verb `container-host` is
//! the small process that holds containers, and starts before anything else of this program does.

mod audit;
mod cli;
mod control;
mod daemon;
mod failure;
mod kubeconfig;
mod messages;
mod options;
mod profile;
mod resolver;
mod rest;
mod rights;
mod services;
mod ui;
mod verbs;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Verb};
use failure::Kind;
use profile::Profile;
use ui::Ui;
use verbs::{Context, Outcome};

fn main() -> ExitCode {
    let mut arguments = std::env::args();
    if arguments.nth(1).as_deref() == Some("container-host") {
        return sampan_cri_oci::container_host_main(arguments);
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(words) => {
            let _ = words.print();
            // help and version are answers, everything else is a mistake
            return ExitCode::from(if words.use_stderr() { Kind::Usage.exit_code() } else { 0 });
        }
    };
    let ui = Ui::new(cli.output);
    match run(cli, ui.clone()) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            ui.failure(&failure);
            ExitCode::from(failure.kind.exit_code())
        }
    }
}

fn run(cli: Cli, ui: Ui) -> Outcome {
    let profile = Profile::named(&cli.profile)?;
    let context = Context { profile, ui };
    match cli.verb {
        Verb::Daemon => daemon::run(&context.profile),
        Verb::Kubectl { arguments } => verbs::kubectl::run(&context, arguments),
        Verb::Version { short } => verbs::version::run(&context, short),
        Verb::Completion { shell } => verbs::completion::run(shell),
        verb => tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?
            .block_on(dispatch(verb, context)),
    }
}

async fn dispatch(verb: Verb, context: Context) -> Outcome {
    match verb {
        Verb::Start(options) => verbs::start::run(context, options).await,
        Verb::Stop { keep_pods } => verbs::stop::run(context, keep_pods).await,
        Verb::Token(verb) => verbs::token::run(context, verb).await,
        Verb::Dashboard { url } => verbs::dashboard::run(context, url).await,
        Verb::Status => verbs::status::run(context).await,
        Verb::Delete { all: false } => verbs::delete::run(context).await,
        Verb::Delete { all: true } => verbs::delete::run_all(context).await,
        Verb::Profile(verb) => verbs::profile::run(&context, &verb),
        Verb::Logs { component, follow, tail } => verbs::logs::run(context, component, follow, tail).await,
        Verb::Image(verb) => verbs::image::run(context, verb).await,
        Verb::Dns { verb } => verbs::dns::run(context, verb).await,
        Verb::Addons(verb) => verbs::addons::run(context, verb).await,
        Verb::Simulate(options) => verbs::simulate::run(context, options).await,
        Verb::Demo => verbs::demo::run(context).await,
        Verb::Backup { file } => verbs::backup::run(context, &file).await,
        Verb::Daemon | Verb::Kubectl { .. } | Verb::Version { .. } | Verb::Completion { .. } => Ok(0),
    }
}
