//! `$(VAR)` in commands, arguments and values: upstream's `third_party/forked/golang/expansion/expand.go`.

/// Expands references. `lookup` gives a variable's value; an unknown reference stays as it is written, `$$`
/// is a literal dollar.
pub fn expand(input: &str, lookup: &dyn Fn(&str) -> Option<String>) -> String {
    let mut output = String::with_capacity(input.len());
    let mut rest = input;
    while let Some(at) = rest.find('$') {
        output.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(tail) = after.strip_prefix('$') {
            output.push('$');
            rest = tail;
        } else if let Some((name, tail)) = after.strip_prefix('(').and_then(|body| body.split_once(')')) {
            match lookup(name) {
                Some(value) => output.push_str(&value),
                None => output.push_str(&format!("$({name})")),
            }
            rest = tail;
        } else {
            output.push('$');
            rest = after;
        }
    }
    output.push_str(rest);
    output
}

/// Names that `lookup` does not know, in order of appearance.
pub fn unknown(input: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let missing = std::cell::RefCell::new(Vec::new());
    expand(input, &|name| {
        let value = lookup(name);
        if value.is_none() {
            missing.borrow_mut().push(name.to_owned());
        }
        value
    });
    missing.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expands_as_upstream_does() {
        let lookup = |name: &str| match name {
            "A" => Some("1".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        for (input, want) in [
            ("$(A)", "1"),
            ("x-$(A)-$(A)", "x-1-1"),
            ("$$(A)", "$(A)"),
            ("$(NONE)", "$(NONE)"),
            ("$(EMPTY)!", "!"),
            ("$(A", "$(A"),
            ("$", "$"),
            ("a$b", "a$b"),
            ("$$$(A)", "$1"),
            ("$(A)$$", "1$"),
        ] {
            assert_eq!(expand(input, &lookup), want, "{input}");
        }
        assert_eq!(unknown("$(A)/$(B)/$(C)", &lookup), ["B", "C"]);
    }
}
