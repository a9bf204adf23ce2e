//! A strict reader of the two texts that Prometheus reads, for tests.
//!
//! Stricter than Prometheus itself: what is unusual there is an error here. A family stands in one
//! piece behind its HELP and TYPE; names, labels and escapes are as the formats say; no series appears
//! twice; counters end in `_total` and are not negative; the buckets of a histogram rise, do not fall, end
//! with `+Inf`, and agree with its count.

#![allow(dead_code, reason = "each test uses its own part")]

use std::collections::{BTreeMap, BTreeSet};

pub type Labels = BTreeMap<String, String>;

/// A page that was read.
#[derive(Debug, Default)]
pub struct Page {
    pub families: BTreeMap<String, Family>,
}

/// The samples of one name.
#[derive(Debug, Default)]
pub struct Family {
    pub kind: String,
    pub samples: Vec<Sample>,
}

/// One line.
#[derive(Debug)]
pub struct Sample {
    pub name: String,
    pub labels: Labels,
    pub value: f64,
}

impl Page {
    /// The samples of this name whose labels are among theirs.
    pub fn all(&self, name: &str, labels: &[(&str, &str)]) -> Vec<&Sample> {
        let has = |sample: &&Sample| {
            sample.name == name
                && labels.iter().all(|(k, v)| sample.labels.get(*k).is_some_and(|w| w == v))
        };
        self.families.values().flat_map(|family| &family.samples).filter(has).collect()
    }

    /// The value of the only one of them.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let all = self.all(name, labels);
        assert_eq!(all.len(), 1, "{name} {labels:?}: {all:?}");
        all[0].value
    }

    /// All names that a query can use.
    pub fn names(&self) -> BTreeSet<String> {
        let histograms = self.families.iter().filter(|(_, family)| family.kind == "histogram");
        let parts = histograms.flat_map(|(name, _)| {
            ["_bucket", "_sum", "_count"].map(|part| format!("{name}{part}"))
        });
        self.families.keys().cloned().chain(parts).collect()
    }

    pub fn series(&self) -> usize {
        self.families.values().map(|family| family.samples.len()).sum()
    }
}

/// Reads a page; the error says which line is wrong and why.
pub fn parse(text: &str, open_metrics: bool) -> Result<Page, String> {
    let mut body = text;
    if open_metrics {
        body = text.strip_suffix("# EOF\n").ok_or("does not end with # EOF")?;
    }
    if !body.ends_with('\n') {
        return Err("the last line does not end".into());
    }
    let mut reader = Reader { open_metrics, ..Reader::default() };
    for (at, line) in body.lines().enumerate() {
        reader.line(line).map_err(|why| format!("line {}: {why}: {line}", at + 1))?;
    }
    reader.end_family()?;
    Ok(reader.page)
}

#[derive(Default)]
struct Reader {
    open_metrics: bool,
    page: Page,
    /// The name of the family that is being read, as a query has it.
    name: String,
    help: String,
    seen: BTreeSet<(String, Labels)>,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            self.end_family()?;
            let (name, text) = rest.split_once(' ').ok_or("HELP without a text")?;
            if text.trim().is_empty() {
                return Err("HELP without a text".into());
            }
            self.help = name.to_owned();
            Ok(())
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or("TYPE without a type")?;
            self.begin_family(name, kind)
        } else if line.starts_with('#') {
            Err("neither HELP nor TYPE".into())
        } else {
            self.sample(line)
        }
    }

    fn begin_family(&mut self, name: &str, kind: &str) -> Result<(), String> {
        if self.help != name {
            return Err("TYPE without HELP before it".into());
        }
        if !is_name(name, ":") {
            return Err("no name of a family".into());
        }
        if !["counter", "gauge", "histogram"].contains(&kind) {
            return Err("unknown type".into());
        }
        self.name = name.to_owned();
        if kind == "counter" {
            match (self.open_metrics, name.ends_with("_total")) {
                (true, true) => return Err("a family of counters that ends in _total".into()),
                (true, false) => self.name.push_str("_total"),
                (false, true) => {}
                (false, false) => return Err("a counter that does not end in _total".into()),
            }
        } else if name.ends_with("_total") {
            return Err("ends in _total and is no counter".into());
        }
        let family = Family { kind: kind.to_owned(), ..Family::default() };
        match self.page.families.insert(self.name.clone(), family) {
            None => Ok(()),
            Some(_) => Err("a family for the second time".into()),
        }
    }

    fn sample(&mut self, line: &str) -> Result<(), String> {
        let Some(family) = self.page.families.get_mut(&self.name) else {
            return Err("a sample before its family".into());
        };
        let (name, rest) = line.split_at(line.find(['{', ' ']).ok_or("a name alone")?);
        let parts: &[&str] =
            if family.kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        if !parts.iter().any(|part| name == format!("{}{part}", self.name)) {
            return Err(format!("a sample of another family than {}", self.name));
        }
        let (labels, rest) = labels(rest)?;
        let text = rest.strip_prefix(' ').ok_or("no blank before the value")?;
        let value: f64 = match text {
            "+Inf" | "-Inf" | "NaN" => return Err("a value that is no number".into()),
            text => text.parse().map_err(|_| "no value")?,
        };
        if labels.contains_key("quantile") {
            return Err("a label that only summaries have".into());
        }
        if family.kind != "gauge" && value < 0.0 {
            return Err("a negative count".into());
        }
        if !self.seen.insert((name.to_owned(), labels.clone())) {
            return Err("a series for the second time".into());
        }
        family.samples.push(Sample { name: name.to_owned(), labels, value });
        Ok(())
    }

    fn end_family(&self) -> Result<(), String> {
        match self.page.families.get(&self.name) {
            Some(family) if family.kind == "histogram" => {
                check_histogram(&self.name, family).map_err(|why| format!("{}: {why}", self.name))
            }
            _ => Ok(()),
        }
    }
}

fn check_histogram(name: &str, family: &Family) -> Result<(), String> {
    let of = |part: &str| {
        let name = format!("{name}{part}");
        family.samples.iter().filter(move |sample| sample.name == name)
    };
    if of("_sum").count() != 1 || of("_count").count() != 1 {
        return Err("not one sum and one count".into());
    }
    let mut before = (f64::NEG_INFINITY, 0.0);
    for bucket in of("_bucket") {
        let bound = match bucket.labels.get("le").map(String::as_str) {
            Some("+Inf") => f64::INFINITY,
            Some(text) => text.parse().map_err(|_| "a bound that is no number")?,
            None => return Err("a bucket without a bound".into()),
        };
        if bound <= before.0 || bucket.value < before.1 {
            return Err(format!("the bucket {bound} does not rise"));
        }
        before = (bound, bucket.value);
    }
    let count = of("_count").next().map(|sample| sample.value);
    if before.0 != f64::INFINITY || Some(before.1) != count {
        return Err("the last bucket is not that of all".into());
    }
    Ok(())
}

/// `{a="b",c="d"}`, and what is behind it.
fn labels(text: &str) -> Result<(Labels, &str), String> {
    let mut labels = Labels::new();
    let Some(mut rest) = text.strip_prefix('{') else { return Ok((labels, text)) };
    loop {
        let (name, behind) = rest.split_once("=\"").ok_or("a label without a value")?;
        if !is_name(name, "") {
            return Err(format!("no name of a label: {name}"));
        }
        let (value, behind) = value(behind)?;
        if labels.insert(name.to_owned(), value).is_some() {
            return Err(format!("the label {name} twice"));
        }
        match behind.split_at_checked(1) {
            Some((",", behind)) => rest = behind,
            Some(("}", behind)) => return Ok((labels, behind)),
            _ => return Err("labels that do not end".into()),
        }
    }
}

fn value(text: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => value.push(match chars.next() {
                Some((_, 'n')) => '\n',
                Some((_, same @ ('\\' | '"'))) => same,
                _ => return Err("an unknown escape".into()),
            }),
            char => value.push(char),
        }
    }
    Err("a label's value that does not end".into())
}

fn is_name(text: &str, more: &str) -> bool {
    let is_letter = |char: char| char.is_ascii_alphabetic() || char == '_' || more.contains(char);
    text.starts_with(is_letter) && text.chars().all(|char| is_letter(char) || char.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::parse;

    const HEAD: &str = "# HELP h x\n# TYPE h histogram\n";

    #[test]
    fn what_is_right_is_read() {
        let text = "# HELP a_total x\n# TYPE a_total counter\na_total{t=\"a\\\"\\\\b\\n\"} 3\n\
                    # HELP g x\n# TYPE g gauge\ng -1.5e3\n";
        let page = parse(text, false).unwrap();
        assert_eq!(page.value("a_total", &[("t", "a\"\\b\n")]), 3.0);
        assert_eq!(page.value("g", &[]), -1500.0);
        let open = "# HELP a x\n# TYPE a counter\na_total 3\n# EOF\n";
        assert_eq!(parse(open, true).unwrap().value("a_total", &[]), 3.0);
        let histogram = format!(
            "{HEAD}h_sum 2\nh_count 3\nh_bucket{{le=\"1\"}} 2\nh_bucket{{le=\"+Inf\"}} 3\n"
        );
        assert!(parse(&histogram, false).unwrap().names().contains("h_bucket"));
    }

    #[test]
    fn what_is_wrong_is_told() {
        let gauge = "# HELP g x\n# TYPE g gauge\n";
        for (text, why) in [
            ("g 1\n".to_owned(), "before its family"),
            (format!("{gauge}g 1"), "does not end"),
            (format!("{gauge}g 1\ng 2\n"), "second time"),
            (format!("{gauge}g 1\n{gauge}g 2\n"), "second time"),
            (format!("{gauge}x 1\n"), "another family"),
            (format!("{gauge}g{{t=\"a}} 1\n"), "does not end"),
            (format!("{gauge}g{{t=\"\\q\"}} 1\n"), "escape"),
            (format!("{gauge}g{{t=\"a\",t=\"b\"}} 1\n"), "twice"),
            (format!("{gauge}g{{1t=\"a\"}} 1\n"), "no name of a label"),
            (format!("{gauge}g one\n"), "no value"),
            (format!("{gauge}g NaN\n"), "no number"),
            ("# TYPE g gauge\ng 1\n".to_owned(), "without HELP"),
            ("# HELP a x\n# TYPE a counter\na 1\n".to_owned(), "does not end in _total"),
            ("# HELP a_total x\n# TYPE a_total counter\na_total -1\n".to_owned(), "negative"),
            (format!("{HEAD}h_sum 1\nh_count 1\nh_bucket{{le=\"1\"}} 1\n"), "last bucket"),
            (
                format!(
                    "{HEAD}h_sum 1\nh_count 1\nh_bucket{{le=\"1\"}} 2\nh_bucket{{le=\"+Inf\"}} 1\n"
                ),
                "does not rise",
            ),
        ] {
            let error = parse(&text, false).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert!(parse("# HELP g x\n# TYPE g gauge\ng 1\n", true).is_err(), "no EOF");
    }
}
