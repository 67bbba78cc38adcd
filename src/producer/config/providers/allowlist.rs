//! The pattern of `allowlist.pattern`: the part of Java's regular expressions that names of variables need.
//!
//! Characters, `.`, `[...]` with ranges and `^`, `\d \w \s \D \W \S`, `\` before a sign, `(...)`, `(?:...)`, `|`, `*`, `+`,
//! `?`, `^` and `$`. All of it means what it means in Java; anything else is refused. The time to match is at most
//! proportional to the length of the pattern times that of the name.

/// A pattern that matches whole names, as in Java.
#[derive(Debug)]
pub(crate) struct Pattern {
    /// The name matches if the steps end together with it.
    steps: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Character(Set),
    /// Nothing may be before.
    Start,
    /// Nothing may follow.
    End,
    /// Goes on at both.
    Split(usize, usize),
    Jump(usize),
}

/// A set of characters, in ranges.
#[derive(Clone, Debug, Default)]
struct Set {
    ranges: Vec<(u32, u32)>,
    is_negated: bool,
}

/// What was read of a pattern.
enum Node {
    Character(Set),
    Start,
    End,
    Sequence(Vec<Node>),
    Either(Vec<Node>),
    Repeat {
        node: Box<Node>,
        from_zero: bool,
        many: bool,
    },
}

const DIGITS: &[(u32, u32)] = &[(0x30, 0x39)];
const WORD: &[(u32, u32)] = &[(0x30, 0x39), (0x41, 0x5a), (0x5f, 0x5f), (0x61, 0x7a)];
const SPACE: &[(u32, u32)] = &[(0x9, 0xd), (0x20, 0x20)];
/// What `.` does not match.
const LINE_ENDS: &[(u32, u32)] = &[(0xa, 0xa), (0xd, 0xd), (0x85, 0x85), (0x2028, 0x2029)];

impl Pattern {
    /// Reads a pattern of at most 1000 characters. The error is a phrase, such as `has no closing ")"`.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        const LONGEST: usize = 1000;
        if text.chars().count() > LONGEST {
            return Err(format!("is longer than {LONGEST} characters"));
        }
        let mut reader = Reader {
            rest: text.chars().collect::<Vec<_>>().into_iter().peekable(),
            depth: 0,
        };
        let node = reader.either()?;
        if reader.rest.next().is_some() {
            return Err("has a \")\" without \"(\"".to_owned());
        }
        let mut steps = Vec::new();
        emit(&node, &mut steps);
        Ok(Self { steps })
    }

    /// Returns whether the pattern matches the whole name.
    pub(crate) fn matches(&self, name: &str) -> bool {
        let mut current = Places::new(self.steps.len());
        current.add(0, &self.steps, true, name.is_empty());
        let mut characters = name.chars().peekable();
        while let Some(character) = characters.next() {
            let mut next = Places::new(self.steps.len());
            for place in &current.list {
                if let Some(Step::Character(set)) = self.steps.get(*place)
                    && set.contains(character)
                {
                    next.add(place + 1, &self.steps, false, characters.peek().is_none());
                }
            }
            current = next;
        }
        current.has[self.steps.len()]
    }
}

/// The steps at which a match goes on, each once.
struct Places {
    has: Vec<bool>,
    list: Vec<usize>,
}

impl Places {
    fn new(steps: usize) -> Self {
        Self {
            has: vec![false; steps + 1],
            list: Vec::new(),
        }
    }

    /// Adds a place, and the places that follow without a character.
    fn add(&mut self, place: usize, steps: &[Step], at_start: bool, at_end: bool) {
        let mut open = vec![place];
        while let Some(place) = open.pop() {
            if std::mem::replace(&mut self.has[place], true) {
                continue;
            }
            match steps.get(place) {
                Some(Step::Split(one, other)) => open.extend([*one, *other]),
                Some(Step::Jump(to)) => open.push(*to),
                Some(Step::Start) if at_start => open.push(place + 1),
                Some(Step::End) if at_end => open.push(place + 1),
                Some(Step::Start | Step::End) => {}
                Some(Step::Character(_)) | None => self.list.push(place),
            }
        }
    }
}

impl Set {
    fn of(ranges: &[(u32, u32)], is_negated: bool) -> Self {
        Self {
            ranges: ranges.to_vec(),
            is_negated,
        }
    }

    fn contains(&self, character: char) -> bool {
        let code = u32::from(character);
        let is_in = |(from, to): &(u32, u32)| (*from..=*to).contains(&code);
        self.ranges.iter().any(is_in) != self.is_negated
    }

    /// Adds all characters of `other`, whose ranges are in order if it is negated.
    fn extend(&mut self, other: &Self) {
        if !other.is_negated {
            return self.ranges.extend_from_slice(&other.ranges);
        }
        let mut from = 0;
        for (start, end) in &other.ranges {
            self.ranges.push((from, start - 1));
            from = end + 1;
        }
        self.ranges.push((from, u32::from(char::MAX)));
    }
}

fn emit(node: &Node, steps: &mut Vec<Step>) {
    match node {
        Node::Character(set) => steps.push(Step::Character(set.clone())),
        Node::Start => steps.push(Step::Start),
        Node::End => steps.push(Step::End),
        Node::Sequence(nodes) => nodes.iter().for_each(|node| emit(node, steps)),
        Node::Either(nodes) => {
            let mut jumps = Vec::new();
            for (index, node) in nodes.iter().enumerate() {
                if index + 1 == nodes.len() {
                    emit(node, steps);
                    break;
                }
                let split = steps.len();
                steps.push(Step::Jump(0));
                emit(node, steps);
                jumps.push(steps.len());
                steps.push(Step::Jump(0));
                steps[split] = Step::Split(split + 1, steps.len());
            }
            for jump in jumps {
                steps[jump] = Step::Jump(steps.len());
            }
        }
        Node::Repeat {
            node,
            from_zero,
            many,
        } => {
            let start = steps.len();
            if *from_zero {
                steps.push(Step::Jump(0));
            }
            let body = steps.len();
            emit(node, steps);
            if *many {
                steps.push(Step::Split(body, steps.len() + 1));
            }
            if *from_zero {
                steps[start] = Step::Split(body, steps.len());
            }
        }
    }
}

struct Reader {
    rest: std::iter::Peekable<std::vec::IntoIter<char>>,
    /// The number of open groups.
    depth: usize,
}

impl Reader {
    fn either(&mut self) -> Result<Node, String> {
        let mut nodes = vec![self.sequence()?];
        while self.rest.next_if_eq(&'|').is_some() {
            nodes.push(self.sequence()?);
        }
        Ok(Node::Either(nodes))
    }

    fn sequence(&mut self) -> Result<Node, String> {
        let mut nodes = Vec::new();
        while let Some(character) = self.rest.next_if(|next| !matches!(next, '|' | ')')) {
            let node = self.one(character)?;
            nodes.push(self.repeated(node)?);
        }
        Ok(Node::Sequence(nodes))
    }

    fn one(&mut self, character: char) -> Result<Node, String> {
        Ok(match character {
            '(' => self.group()?,
            '[' => Node::Character(self.set()?),
            '\\' => Node::Character(self.escape()?),
            '.' => Node::Character(Set::of(LINE_ENDS, true)),
            '^' => Node::Start,
            '$' => Node::End,
            '*' | '+' | '?' => return Err(format!("has a {character:?} after nothing")),
            '{' => return Err(not_supported("{")),
            _ => Node::Character(single(character)),
        })
    }

    fn repeated(&mut self, node: Node) -> Result<Node, String> {
        let is_quantifier = |next: &char| matches!(next, '*' | '+' | '?' | '{');
        let Some(quantifier) = self.rest.next_if(is_quantifier) else {
            return Ok(node);
        };
        if let ('{', _) | (_, Some('*' | '+' | '?' | '{')) = (quantifier, self.rest.peek()) {
            let second = self.rest.next().filter(|_| quantifier != '{');
            return Err(not_supported(&String::from_iter(
                [Some(quantifier), second].into_iter().flatten(),
            )));
        }
        Ok(Node::Repeat {
            node: Box::new(node),
            from_zero: quantifier != '+',
            many: quantifier != '?',
        })
    }

    fn group(&mut self) -> Result<Node, String> {
        const DEEPEST: usize = 30;
        if self.rest.next_if_eq(&'?').is_some() && self.rest.next_if_eq(&':').is_none() {
            return Err(not_supported("(?"));
        }
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(format!("has more than {DEEPEST} groups in each other"));
        }
        let node = self.either()?;
        self.depth -= 1;
        match self.rest.next() {
            Some(_) => Ok(node),
            None => Err("has no closing \")\"".to_owned()),
        }
    }

    /// After `[`.
    fn set(&mut self) -> Result<Set, String> {
        const OPEN: &str = "has no closing \"]\"";
        let is_negated = self.rest.next_if_eq(&'^').is_some();
        let mut set = Set::default();
        loop {
            let first = match self.rest.next().ok_or(OPEN)? {
                ']' if set.ranges.is_empty() => return Err(not_supported("[]")),
                ']' => break,
                '[' => return Err(not_supported("[ inside [...]")),
                '&' if self.rest.peek() == Some(&'&') => return Err(not_supported("&&")),
                '\\' => self.escape()?,
                character => single(character),
            };
            if self.rest.next_if_eq(&'-').is_none() {
                set.extend(&first);
                continue;
            }
            if self.rest.peek() == Some(&']') {
                set.extend(&first);
                set.extend(&single('-'));
                continue;
            }
            let last = match self.rest.next().ok_or(OPEN)? {
                '[' => return Err(not_supported("[ inside [...]")),
                '\\' => self.escape()?,
                character => single(character),
            };
            match (first.as_single(), last.as_single()) {
                (Some(from), Some(to)) if from <= to => set.ranges.push((from, to)),
                _ => return Err("has a range in [...] that is not legal".to_owned()),
            }
        }
        set.is_negated = is_negated;
        Ok(set)
    }

    /// After `\`.
    fn escape(&mut self) -> Result<Set, String> {
        let Some(character) = self.rest.next() else {
            return Err("ends with \"\\\"".to_owned());
        };
        Ok(match character {
            'd' | 'D' => Set::of(DIGITS, character == 'D'),
            'w' | 'W' => Set::of(WORD, character == 'W'),
            's' | 'S' => Set::of(SPACE, character == 'S'),
            _ if character.is_ascii_alphanumeric() => {
                return Err(not_supported(&format!("\\{character}")));
            }
            _ => single(character),
        })
    }
}

impl Set {
    fn as_single(&self) -> Option<u32> {
        match self.ranges[..] {
            [(from, to)] if from == to && !self.is_negated => Some(from),
            _ => None,
        }
    }
}

fn single(character: char) -> Set {
    let code = u32::from(character);
    Set::of(&[(code, code)], false)
}

fn not_supported(what: &str) -> String {
    format!(
        "has \"{what}\", which is not supported here: write it with characters, . [...] (...) | * + ? ^ $ and \\"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_whole_names() {
        for (pattern, matching, others) in [
            (
                "KAFKA_.*",
                &["KAFKA_", "KAFKA_A"][..],
                &["KAFKA", "A_KAFKA_", "KAFKA_\n"][..],
            ),
            ("^KAFKA_.*$", &["KAFKA_A"], &["MY_KAFKA_A"]),
            ("A", &["A"], &["AA", "a", ""]),
            ("", &[""], &["A"]),
            ("A|BC|", &["A", "BC", ""], &["AB", "C", "AC"]),
            ("(A|BC)+D?", &["A", "ABCD", "BCBC"], &["", "D", "ADD"]),
            ("(?:AB)*", &["", "ABAB"], &["ABA"]),
            ("[A-Z_0-9]+", &["A_1"], &["a", "A-1", ""]),
            ("[^A-Z]", &["a", "\n"], &["A", "ab"]),
            ("[-a]", &["-", "a"], &["b"]),
            ("[a-]", &["-", "a"], &["b"]),
            ("[a^]", &["^", "a"], &["b"]),
            ("[\\d\\-x]+", &["1-x"], &["a"]),
            ("[\\D]", &["a", "\u{10ffff}"], &["1"]),
            ("[^\\W_]", &["a"], &["_", "-"]),
            ("\\w\\s\\d\\W\\S\\D", &["a 1-bc"], &["a 1abc"]),
            ("a\\.b", &["a.b"], &["acb"]),
            ("a]}b", &["a]}b"], &["ab"]),
            ("(a*)*b", &["b", "aaab"], &["a", ""]),
            ("(^|A)B", &["B", "AB"], &["CB"]),
            ("A(B|$)", &["A", "AB"], &["AC"]),
            ("A$B", &[], &["AB", "A"]),
            ("é+", &["éé"], &["e"]),
        ] {
            let compiled = Pattern::new(pattern).unwrap();
            for name in matching {
                assert!(compiled.matches(name), "{pattern} {name:?}");
            }
            for name in others {
                assert!(!compiled.matches(name), "{pattern} {name:?}");
            }
        }
    }

    #[test]
    fn what_is_not_supported_or_not_a_pattern_is_refused() {
        for (pattern, fault) in [
            ("A{2}", "has \"{\","),
            ("{", "has \"{\","),
            ("A*?", "has \"*?\","),
            ("A++", "has \"++\","),
            ("(?i)A", "has \"(?\","),
            ("(?=A)", "has \"(?\","),
            ("\\p{Lu}", "has \"\\p\","),
            ("(A)\\1", "has \"\\1\","),
            ("\\QA\\E", "has \"\\Q\","),
            ("[a-z&&[b]]", "has \"&&\","),
            ("[a[b]]", "has \"[ inside [...]\","),
            ("[]a]", "has \"[]\","),
            ("[z-a]", "has a range"),
            ("[a-\\d]", "has a range"),
            ("*A", "has a '*' after nothing"),
            ("A|+", "has a '+' after nothing"),
            ("(A", "has no closing \")\""),
            ("[A", "has no closing \"]\""),
            ("[A-", "has no closing \"]\""),
            ("A)", "has a \")\" without"),
            ("A\\", "ends with \"\\\""),
        ] {
            let refused = Pattern::new(pattern).unwrap_err();
            assert!(refused.starts_with(fault), "{pattern}: {refused}");
        }
        assert!(Pattern::new(&"a".repeat(1001)).is_err());
        assert!(Pattern::new(&"(".repeat(1000)).is_err());
        assert!(Pattern::new(&format!("{}{}", "(".repeat(30), ")".repeat(30))).is_ok());
    }

    #[test]
    fn nested_repetitions_are_matched_quickly() {
        let pattern = format!("{}a{}b", "(".repeat(30), "*)+".replace('+', "").repeat(30));
        let start = std::time::Instant::now();
        assert!(!Pattern::new(&pattern).unwrap().matches(&"a".repeat(8000)));
        assert!(start.elapsed() < std::time::Duration::from_secs(20));
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]
        #[test]
        fn any_text_is_a_pattern_or_refused(pattern in "(\\PC|[a-c\\[\\]()|*+?^$.\\\\-]){0,30}", name in "[a-c]{0,9}") {
            if let Ok(pattern) = Pattern::new(&pattern) {
                let _ = pattern.matches(&name);
            }
        }

        #[test]
        fn an_escaped_text_matches_itself_only(text in "[ -~]{0,20}", other in "[ -~]{0,20}") {
            let escaped: String = text.chars().flat_map(|c| {
                (!c.is_ascii_alphanumeric()).then_some('\\').into_iter().chain([c])
            }).collect();
            let pattern = Pattern::new(&escaped).unwrap();
            proptest::prop_assert!(pattern.matches(&text));
            proptest::prop_assert_eq!(pattern.matches(&other), text == other);
        }
    }
}
