//! Changes bytes and tokens of a seed. The same seed number gives the same inputs.

/// A generator (splitmix64) and the input that it gave last.
pub struct Mutator {
    state: u64,
    last: Vec<u8>,
}

impl Mutator {
    pub fn new(seed: u64) -> Self {
        Self { state: seed, last: Vec::new() }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, 0 if there is none.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end.max(1)).unwrap()).unwrap()
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// What was in hands when something broke.
    pub fn last(&self) -> &[u8] {
        &self.last
    }

    /// Says what is in hands where it was put together elsewhere.
    pub fn hold(&mut self, bytes: &[u8]) {
        self.last = bytes.to_vec();
    }

    /// A changed text of one of several.
    pub fn one_of<T>(&mut self, seeds: &[T], text: impl Fn(&T) -> &String, marks: &[&str]) -> String {
        let seed = text(self.pick(seeds));
        self.text(seed, marks)
    }

    /// A changed text; once in a while the seed itself.
    pub fn text(&mut self, seed: &str, marks: &[&str]) -> String {
        let mut text = seed.to_owned();
        for _ in 0..self.below(5) {
            text = match self.below(3) {
                0 => String::from_utf8_lossy(&self.bytes(text.as_bytes())).into_owned(),
                _ => self.tokens(&text, marks),
            };
        }
        self.last = text.clone().into_bytes();
        text
    }

    fn tokens(&mut self, text: &str, marks: &[&str]) -> String {
        let mut tokens: Vec<&str> = text.split_inclusive(|char: char| !char.is_alphanumeric() && char != '_').collect();
        let (at, other) = (self.below(tokens.len() + 1), self.below(tokens.len() + 1));
        match self.below(5) {
            0 | 1 => tokens.insert(at, marks[self.below(marks.len())]),
            2 if at < tokens.len() => {
                tokens.drain(at..(at + 1 + self.below(4)).min(tokens.len()));
            }
            3 if at < tokens.len() && other < tokens.len() => tokens.swap(at, other),
            _ => {
                let run: Vec<&str> = tokens[at.min(other)..at.max(other)].iter().take(12).copied().collect();
                tokens.splice(at..at, run);
            }
        }
        tokens.concat()
    }

    /// Changed bytes.
    pub fn bytes(&mut self, seed: &[u8]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        let at = self.below(bytes.len() + 1);
        let byte = u8::try_from(self.below(256)).unwrap();
        match self.below(5) {
            0 => bytes.insert(at, byte),
            1 if at < bytes.len() => {
                bytes.remove(at);
            }
            2 if at < bytes.len() => bytes[at] = byte,
            3 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            _ => bytes.truncate(bytes.len() - self.below(bytes.len().min(16) + 1)),
        }
        self.last.clone_from(&bytes);
        bytes
    }
}
