//! What is wrong with an expression, and what went wrong when it ran: cel-go's texts.

/// One complaint about one place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Issue {
    pub at: usize,
    pub message: String,
}

impl Issue {
    pub(crate) fn new(at: usize, message: impl Into<String>) -> Self {
        Self { at, message: message.into() }
    }
}

/// An expression that cannot be used. Its text is cel-go's: `ERROR: <input>:1:5: …` with the line and a mark below it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct CompileError {
    text: String,
}

impl CompileError {
    pub(crate) fn new(source: &str, mut issues: Vec<Issue>) -> Self {
        issues.sort_by_key(|issue| issue.at);
        let texts: Vec<String> = issues.iter().map(|issue| show(source, issue)).collect();
        Self { text: texts.join("\n") }
    }
}

fn show(source: &str, issue: &Issue) -> String {
    let before: Vec<char> = source.chars().take(issue.at).collect();
    let line = before.iter().filter(|&&c| c == '\n').count();
    let column = before.iter().rev().take_while(|&&c| c != '\n').count();
    let snippet = source.split('\n').nth(line).unwrap_or_default().replace('\t', " ");
    let place = format!("ERROR: <input>:{}:{}: {}", line + 1, column + 1, issue.message);
    if snippet.is_empty() && source.is_empty() {
        return place;
    }
    // as cel-go, a wide character has a wide dot below it
    let dots: String =
        snippet.chars().take(column).map(|c| if c.len_utf8() > 1 { '．' } else { '.' }).collect();
    let mark = if snippet.chars().nth(column).is_some_and(|c| c.len_utf8() > 1) { '＾' } else { '^' };
    format!("{place}\n | {snippet}\n | {dots}{mark}")
}

/// Why an evaluation has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// The expression's own fault, or its input's.
    #[error("{0}")]
    Failed(String),
    /// One expression cost more than upstream's `PerCallLimit`.
    #[error("operation cancelled: actual cost limit exceeded")]
    CostLimit,
    /// All expressions together cost more than upstream's `RuntimeCELCostBudget`.
    #[error("validation failed due to running out of cost budget, no further validation rules will be run")]
    Budget,
}

impl EvalError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self::Failed(text.into())
    }
    pub(crate) fn overload() -> Self {
        Self::new("no such overload")
    }
    /// Whether no other expression may run after it.
    pub fn is_cost(&self) -> bool {
        !matches!(self, Self::Failed(_))
    }
}
