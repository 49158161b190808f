//! `sampan token`: what tools show to use the APIs.

use serde_json::Value;

use super::{Context, Outcome};
use crate::cli;
use crate::control::{self, Request};
use crate::failure::{Failure, Kind};
use crate::messages::Message;
use crate::rest::{NewToken, Scope, Token};
use crate::ui::Format;

/// Runs the verb.
pub async fn run(mut context: Context, verb: cli::Token) -> Outcome {
    match verb {
        cli::Token::Create { name, scope, expires } => create(&mut context, name, scope, &expires).await,
        cli::Token::Ls => list(&context).await,
        cli::Token::Rm { names } => {
            for name in names {
                ask(&context, Request::TokenRemove { name: name.clone() }).await?;
                context.ui.step(&Message::TokenRevoked { name });
            }
            Ok(0)
        }
    }
}

async fn ask(context: &Context, request: Request) -> Result<Value, Failure> {
    control::ask(&context.profile.socket(), &request, drop).await
}

async fn create(context: &mut Context, name: String, scope: Scope, expires: &str) -> Outcome {
    let wanted = NewToken { name, scope, expiration_seconds: Some(seconds(expires)?) };
    let made = ask(context, Request::TokenCreate(wanted)).await?;
    if context.ui.format() == Format::Json {
        context.ui.value(&made);
        return Ok(0);
    }
    let Token { name, scope, expires, token, .. } =
        serde_json::from_value(made).map_err(anyhow::Error::from)?;
    context.ui.warn(&Message::TokenMade { name, scope, expires });
    context.ui.plain(&token.unwrap_or_default());
    Ok(0)
}

async fn list(context: &Context) -> Outcome {
    let tokens = ask(context, Request::TokenList).await?;
    if context.ui.format() == Format::Json {
        context.ui.value(&tokens);
        return Ok(0);
    }
    let tokens: Vec<Token> = serde_json::from_value(tokens).map_err(anyhow::Error::from)?;
    context.ui.plain(&format!("{:<32} {:<8} {:<22} EXPIRES", "NAME", "SCOPE", "CREATED"));
    for Token { name, scope, created, expires, .. } in tokens {
        context.ui.plain(&format!("{name:<32} {scope:<8} {created:<22} {expires}"));
    }
    Ok(0)
}

/// Seconds of `45m`, `12h`, `90d`.
fn seconds(text: &str) -> Result<i64, Failure> {
    let unit = match text.bytes().last() {
        Some(b's') => 1,
        Some(b'm') => 60,
        Some(b'h') => 3600,
        Some(b'd') => 24 * 3600,
        _ => 0,
    };
    let number = text.get(..text.len().saturating_sub(1)).and_then(|number| number.parse::<i64>().ok());
    number.and_then(|number| number.checked_mul(unit)).filter(|seconds| *seconds > 0).ok_or_else(|| {
        let message = format!("--expires={text}: not a time such as 45m, 12h or 90d");
        Failure::new(Kind::Usage, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        for (text, expected) in
            [("90s", Some(90)), ("45m", Some(2700)), ("12h", Some(43_200)), ("2d", Some(172_800))]
        {
            assert_eq!(seconds(text).ok(), expected, "{text}");
        }
        for text in ["", "d", "5", "-1h", "1.5h", "9223372036854775807d", "1w", "é"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
