//! Cases for the SQL92 filter, and their check: gantry's half of `tests/peer/filter`.
//!
//! `sql_cases make SEED COUNT` prints cases, a line each: an expression, then names and values of
//! properties, separated by tabs. Most follow the grammar, some have a word taken out, put in or
//! exchanged, and all draw on values that numbers are read from in more than one way.
//! `sql_cases check FILE` reads the same lines with the expected answer before them, and fails if an
//! answer differs.

use std::{env, fs, process::ExitCode};

use gantry_codec::sql::Sql;

const NAMES: [&str; 4] = ["a", "b", "c_1", "$d"];
const NUMBERS: [&str; 15] = [
    "0",
    "1",
    "2",
    "10",
    "5L",
    "3l",
    "2147483647",
    "2147483648",
    "3000000000",
    "9223372036854775807",
    "1.5",
    "2.",
    ".5",
    "1e1",
    "9007199254740993",
];
const ODD_NUMBERS: [&str; 7] =
    ["007", "0L", "0.0", "5.E-1", "9223372036854775808", "1e400", "1e-400"];
const TEXTS: [&str; 12] = [
    "''",
    "'x'",
    "'ab'",
    "'b'",
    "'1'",
    "'1.5'",
    "'TRUE'",
    "'it''s'",
    "'Größe'",
    "' '",
    "'😀'",
    "'NaN'",
];
const ODD_TEXTS: [&str; 3] = ["'''", "'a' 'b'", "'a''b"];
const VALUES: [&str; 46] = [
    "",
    "x",
    "ab",
    "abab",
    "b",
    "it's",
    "Größe",
    "a😀b",
    "true",
    "TRUE",
    "false",
    "null",
    "0",
    "1",
    "-1",
    "+1",
    "2",
    "10",
    "01",
    " 1",
    "1 ",
    "1.0",
    "1.5",
    "-1.5",
    "1.5f",
    "2d",
    "1L",
    "1e1",
    ".5",
    "5.",
    ".",
    "NaN",
    "-NaN",
    "Infinity",
    "-Infinity",
    "0x10",
    "0x1.8p0",
    "0X.8P1f",
    "-0",
    "-0.0",
    "2147483648",
    "3000000000",
    "9223372036854775807",
    "9223372036854775808",
    "9007199254740993",
    "１２",
];
const STRAY: [&str; 16] = [
    "(", ")", ",", "=", "<>", "!=", "NOT", "AND", "NULL", "--", "\n", "/*", "*/", "@", "'", "LIKE",
];

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["make", seed, count] => {
            let (Ok(seed), Ok(count)) = (seed.parse(), count.parse()) else { return usage() };
            make(seed, count);
            ExitCode::SUCCESS
        }
        ["check", file] => check(file),
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: sql_cases make SEED COUNT | check FILE");
    ExitCode::from(2)
}

fn make(seed: u64, count: usize) {
    let mut maker = Maker { random: fastrand::Rng::with_seed(seed), words: Vec::new() };
    for _ in 0..count {
        println!("{}", maker.case());
    }
}

struct Maker {
    random: fastrand::Rng,
    words: Vec<String>,
}

impl Maker {
    fn case(&mut self) -> String {
        self.words.clear();
        self.any(3);
        if self.random.u8(..) < 40 {
            self.damage();
        }
        let mut line = escaped(&self.joined());
        for name in NAMES {
            if self.random.u8(..) < 190 {
                line += &format!("\t{name}\t{}", escaped(self.pick(&VALUES)));
            }
        }
        line
    }

    /// Mostly with blanks, so that words stay words.
    fn joined(&mut self) -> String {
        let mut text = String::new();
        for word in &self.words {
            text += word;
            text += match self.random.u8(..) {
                0..8 => "",
                8..14 => " /* = ** */ ",
                14..18 => " -- )'\n",
                18..24 => "\t\r\n",
                _ => " ",
            };
        }
        text
    }

    fn damage(&mut self) {
        let at = self.random.usize(..self.words.len());
        let word = self.pick(&STRAY).to_owned();
        match self.random.u8(..4) {
            0 => drop(self.words.remove(at)),
            1 => self.words.insert(at, word),
            2 => self.words.push(word),
            _ => self.words[at] = word,
        }
    }

    fn any(&mut self, depth: u32) {
        self.condition(depth);
        while self.random.u8(..) < 80 {
            let joint = self.pick(&["AND", "OR", "and", "Or"]);
            self.word(joint);
            self.condition(depth);
        }
    }

    fn condition(&mut self, depth: u32) {
        let depth = depth.saturating_sub(1);
        match self.random.u8(..20) {
            0 | 1 if depth > 0 => {
                self.word("(");
                self.any(depth);
                self.word(")");
            }
            2 | 3 if depth > 0 => {
                self.word("NOT");
                self.condition(depth);
            }
            4 => self.operand(depth),
            5 | 6 => {
                self.operand(depth);
                let test = self.pick(&["IS NULL", "IS NOT NULL", "is null", "IS TRUE"]);
                self.word(test);
            }
            7..=9 => {
                self.operand(depth);
                let between = self.pick(&["BETWEEN", "NOT BETWEEN"]);
                self.word(between);
                self.number();
                self.word("AND");
                self.number();
            }
            10 | 11 => self.is_in(depth),
            12..=14 => {
                self.operand(depth);
                let places = [
                    "CONTAINS",
                    "NOT CONTAINS",
                    "STARTSWITH",
                    "NOT startswith",
                    "ENDSWITH",
                    "NOT ENDSWITH",
                ];
                let place = self.pick(&places);
                self.word(place);
                self.text();
            }
            _ => {
                self.operand(depth);
                let operator = self.pick(&["=", "<>", ">", ">=", "<", "<=", "="]);
                self.word(operator);
                self.operand(depth);
            }
        }
    }

    fn is_in(&mut self, depth: u32) {
        match self.random.u8(..) {
            0..16 => self.operand(depth),
            _ => self.words.push(NAMES[self.random.usize(..NAMES.len())].to_owned()),
        }
        let (is_in, first) = (self.pick(&["IN", "NOT IN"]), self.pick(&TEXTS));
        for word in [is_in, "(", first] {
            self.word(word);
        }
        for _ in 0..self.random.u8(..7) {
            let text = self.pick(&TEXTS);
            self.word(",");
            self.word(text);
        }
        self.word(")");
    }

    fn operand(&mut self, depth: u32) {
        match self.random.u8(..40) {
            0..=19 => {
                let name = self.pick(&NAMES);
                self.word(name);
            }
            20..=29 => self.number(),
            30..=33 => self.text(),
            34 | 35 => {
                let constant = self.pick(&["TRUE", "false", "NULL"]);
                self.word(constant);
            }
            36 | 37 if depth > 0 => {
                self.word("(");
                self.any(depth - 1);
                self.word(")");
            }
            _ => {
                self.word("-");
                self.operand(depth);
            }
        }
    }

    fn number(&mut self) {
        if self.random.u8(..) < 60 {
            let sign = self.pick(&["-", "+"]);
            self.word(sign);
        }
        let odd = self.random.u8(..) < 8;
        let number = if odd { self.pick(&ODD_NUMBERS) } else { self.pick(&NUMBERS) };
        self.word(number);
    }

    fn text(&mut self) {
        let odd = self.random.u8(..) < 8;
        let text = if odd { self.pick(&ODD_TEXTS) } else { self.pick(&TEXTS) };
        self.word(text);
    }

    fn word(&mut self, word: &str) {
        self.words.push(word.to_owned());
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.random.usize(..from.len())]
    }
}

fn check(file: &str) -> ExitCode {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("{file}: {error}");
            return ExitCode::FAILURE;
        }
    };
    let (mut cases, mut wrong) = (0, 0);
    for line in text.lines() {
        cases += 1;
        let fields: Vec<String> = line.split('\t').map(plain).collect();
        let ours = answer(&fields[1], &fields[2..]);
        if ours != fields[0] {
            wrong += 1;
            println!("{ours} here, {line}");
        }
    }
    println!("{cases} cases, {wrong} answered differently");
    if wrong == 0 && cases > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn answer(expression: &str, properties: &[String]) -> &'static str {
    let Ok(sql) = Sql::compile(expression) else { return "refused" };
    let lookup = |name: &str| {
        let found = properties.chunks(2).rfind(|pair| pair[0] == name)?;
        Some(found[1].as_str())
    };
    match sql.evaluate(&lookup) {
        Ok(Some(true)) => "true",
        Ok(Some(false)) => "false",
        Ok(None) => "null",
        Err(_) => "failed",
    }
}

const ESCAPES: [(&str, &str); 5] =
    [("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r"), ("\x0c", "\\f")];

fn escaped(text: &str) -> String {
    ESCAPES.iter().fold(text.to_owned(), |text, (plain, escaped)| text.replace(plain, escaped))
}

fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let escaped = if c == '\\' { chars.next() } else { None };
        plain.push(match escaped {
            None => c,
            Some('t') => '\t',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('f') => '\x0c',
            Some(other) => other,
        });
    }
    plain
}
