//! A variable out of a file that containers write: upstream's `pkg/kubelet/util/env`. Pure.
//!
//! The file is a subset of what a shell reads: `NAME='value'`, the value in single quotes and over as many lines as it likes,
//! comments from `#` on, nothing around the `=`.

/// The value of `key`; empty if the file does not set it, or sets it to nothing.
///
/// # Errors
/// With the number of the line that is not of the form, if it comes before `key` is found.
pub fn value_of(text: &str, key: &str) -> Result<String, String> {
    let wrong = |line: usize, why: &str| format!("invalid environment variable format at line {line}: {why}");
    let mut lines = text.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        let line = line.trim_start_matches([' ', '\t']);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once('=').ok_or_else(|| wrong(number, "missing '='"))?;
        match name.trim_end_matches([' ', '\t']) {
            "" => return Err(wrong(number, "empty variable name")),
            trimmed if trimmed != name => {
                return Err(wrong(number, "whitespace before '=' is not allowed"));
            }
            _ => {}
        }
        if value.starts_with([' ', '\t']) {
            // to a shell this is an empty value, and a command after it
            if name == key {
                return Ok(String::new());
            }
            continue;
        }
        let opened = value.strip_prefix('\'');
        let mut rest = opened.ok_or_else(|| wrong(number, "value must be enclosed in single quotes"))?;
        let (mut value, mut last) = (String::new(), number);
        let after = loop {
            if let Some((end, after)) = rest.split_once('\'') {
                value.push_str(end);
                break after.trim_start_matches([' ', '\t']);
            }
            value.push_str(rest);
            value.push('\n');
            let unclosed = || {
                format!(
                    "invalid environment variable format starting at line {number}: unclosed single quote"
                )
            };
            (rest, last) = lines.next().ok_or_else(unclosed)?;
        };
        if !after.is_empty() && !after.starts_with('#') {
            return Err(wrong(last, "unexpected content after closing quote"));
        }
        if name == key {
            return Ok(value);
        }
    }
    Ok(String::new())
}

#[cfg(test)]
mod tests {
    use super::value_of;

    #[test]
    fn what_a_file_sets() {
        let file = "# first\n\n  A='1' # one\nB=''\nC= 'x'\nD='two\nlines'\n\tE='#'\nA='again'\n";
        for (key, value) in [("A", "1"), ("B", ""), ("C", ""), ("D", "two\nlines"), ("E", "#"), ("F", "")] {
            assert_eq!(value_of(file, key), Ok(value.to_owned()), "{key}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_by_its_line() {
        let wrong = "invalid environment variable format";
        for (file, why) in [
            ("A='1'\nB", "at line 2: missing '='"),
            ("='1'", "at line 1: empty variable name"),
            ("A ='1'", "at line 1: whitespace before '=' is not allowed"),
            ("A=1", "at line 1: value must be enclosed in single quotes"),
            ("A='1' B='2'", "at line 1: unexpected content after closing quote"),
            ("A='\n1\n", "starting at line 1: unclosed single quote"),
            ("A='\n1' x\n", "at line 2: unexpected content after closing quote"),
        ] {
            assert_eq!(value_of(file, "K"), Err(format!("{wrong} {why}")), "{file}");
        }
    }
}
