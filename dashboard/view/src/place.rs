//! What of a page is in its URL: `pods?ns=a,b&q=status:failed&sort=-Restarts&cols=Name,Age`, so that a link, back and
//! reload give the same view.

/// What a list shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListState {
    /// Namespaces; empty for all.
    pub namespaces: Vec<String>,
    /// The filter's line.
    pub filter: String,
    /// The column that it is sorted by; empty for the order of names.
    pub sort: String,
    /// The other way around.
    pub down: bool,
    /// The columns, in the order shown; empty for those of priority 0.
    pub columns: Vec<String>,
}

impl ListState {
    /// Reads a query (with or without `?`); what it does not know it passes over.
    pub fn parse(query: &str) -> Self {
        let mut state = Self::default();
        for (name, value) in pairs(query) {
            match name.as_str() {
                "ns" => state.namespaces = list(&value),
                "q" => state.filter = value,
                "sort" => match value.strip_prefix('-') {
                    Some(column) => (state.sort, state.down) = (column.to_owned(), true),
                    None => (state.sort, state.down) = (value, false),
                },
                "cols" => state.columns = list(&value),
                _ => {}
            }
        }
        state
    }

    /// The query, without `?`; empty for the plain list.
    pub fn query(&self) -> String {
        let mut parts = Vec::new();
        let mut add = |name: &str, value: &str| {
            if !value.is_empty() {
                parts.push(format!("{name}={}", encode(value)));
            }
        };
        add("ns", &join(&self.namespaces));
        add("q", &self.filter);
        let down = self.down && !self.sort.is_empty();
        add("sort", &format!("{}{}", if down { "-" } else { "" }, self.sort));
        add("cols", &join(&self.columns));
        parts.join("&")
    }
}

/// Names of columns may have commas in CRDs: those are encoded twice.
fn join(all: &[String]) -> String {
    all.iter().map(|one| one.replace('%', "%25").replace(',', "%2C")).collect::<Vec<_>>().join(",")
}

fn list(value: &str) -> Vec<String> {
    value.split(',').filter(|one| !one.is_empty()).map(decode).collect()
}

/// The pairs of a query, decoded.
pub fn pairs(query: &str) -> Vec<(String, String)> {
    let query = query.strip_prefix('?').unwrap_or(query);
    let pair = |part: &str| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        (decode(&name.replace('+', " ")), decode(&value.replace('+', " ")))
    };
    query.split('&').filter(|part| !part.is_empty()).map(pair).collect()
}

/// Percent-encodes all but what reads well in a query and means nothing in it.
pub fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~,:/!()*".contains(&byte);
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match plain(byte) {
            true => encoded.push(char::from(byte)),
            false => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Takes percent-encoding back; what is none stays as it is.
pub fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let (mut decoded, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(u8::try_from(high * 16 + low).unwrap_or_default());
                at += 3;
            }
            (byte, ..) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let state = ListState {
            namespaces: vec!["a".into(), "kube-system".into()],
            filter: "status:failed /a&b=%41/ app=网 <script>".into(),
            sort: "CPU (cores)".into(),
            down: true,
            columns: vec!["Name".into(), "a,b".into(), "50%".into()],
        };
        assert_eq!(ListState::parse(&state.query()), state);
        assert_eq!(ListState::parse(&format!("?{}", state.query())), state);
        assert_eq!(ListState::default().query(), "");
        assert_eq!(ListState::parse(""), ListState::default());
    }

    #[test]
    fn strange_queries_do_no_harm() {
        for query in ["?", "&&", "q", "q=%", "q=%zz", "sort=-", "ns=,,", "x=y", "q=%ff%fe"] {
            let _ = ListState::parse(query);
        }
        assert_eq!(ListState::parse("q=a+b").filter, "a b");
        assert_eq!(ListState::parse("q=%zz").filter, "%zz");
    }

    #[test]
    fn a_link_can_be_read_by_people() {
        let state = ListState {
            filter: "status:failed".into(),
            sort: "Restarts".into(),
            down: true,
            ..ListState::default()
        };
        assert_eq!(state.query(), "q=status:failed&sort=-Restarts");
    }
}
