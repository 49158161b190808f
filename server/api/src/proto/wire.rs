//! Protobuf's wire format: varints, fixed numbers, lengths.

/// What is left to read.
pub struct Reader<'a>(pub &'a [u8]);

/// The value of one field as the wire has it.
#[derive(Clone, Copy)]
pub enum Item<'a> {
    Number(u64),
    Float(f64),
    Bytes(&'a [u8]),
}

impl<'a> Reader<'a> {
    /// The next field's number and value; `None` at the end.
    pub fn next(&mut self) -> Result<Option<(u32, Item<'a>)>, String> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).map_err(|_| "proto: illegal tag".to_owned())?;
        let item = match key & 7 {
            0 => Item::Number(self.varint()?),
            1 => Item::Float(f64::from_le_bytes(self.fixed()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|why| why.to_string())?;
                Item::Bytes(self.take(length)?)
            }
            5 => Item::Float(f64::from(f32::from_le_bytes(self.fixed()?))),
            other => return Err(format!("proto: illegal wireType {other}")),
        };
        if number == 0 {
            return Err("proto: illegal tag 0".to_owned());
        }
        Ok(Some((number, item)))
    }

    pub fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.fixed()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("proto: integer overflow".to_owned())
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or("unexpected EOF")?;
        self.0 = rest;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], String> {
        self.take(N)?.try_into().map_err(|_| "unexpected EOF".to_owned())
    }
}

impl<'a> Item<'a> {
    pub fn number(self) -> Result<u64, String> {
        match self {
            Self::Number(number) => Ok(number),
            _ => Err("proto: wrong wireType for a number".to_owned()),
        }
    }
    pub fn float(self) -> Result<f64, String> {
        match self {
            Self::Float(float) => Ok(float),
            _ => Err("proto: wrong wireType for a float".to_owned()),
        }
    }
    pub fn bytes(self) -> Result<&'a [u8], String> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err("proto: wrong wireType for bytes".to_owned()),
        }
    }
    pub fn text(self) -> Result<String, String> {
        let text = std::str::from_utf8(self.bytes()?);
        text.map(str::to_owned).map_err(|_| "proto: invalid UTF-8 in a string".to_owned())
    }
}

/// Bytes on their way out.
pub struct Writer(pub Vec<u8>);

impl Writer {
    /// Nothing yet.
    pub fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    fn key(&mut self, tag: u32, wire: u64) {
        self.varint(u64::from(tag) << 3 | wire);
    }

    /// A whole number, or a boolean.
    pub fn number(&mut self, tag: u32, value: i64) {
        self.key(tag, 0);
        self.varint(value.cast_unsigned());
    }

    /// A double.
    pub fn float(&mut self, tag: u32, value: f64) {
        self.key(tag, 1);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// A string or bytes.
    pub fn bytes(&mut self, tag: u32, bytes: &[u8]) {
        self.key(tag, 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// What `write` writes, in the messages that `tags` open, one within the other.
    pub fn message<E>(
        &mut self,
        tags: &[u32],
        write: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        let opened: Vec<Open> = tags.iter().map(|tag| self.open(*tag)).collect();
        write(self)?;
        for at in opened.into_iter().rev() {
            self.close(at);
        }
        Ok(())
    }

    /// Begins a message, whose length is not known yet.
    pub fn open(&mut self, tag: u32) -> Open {
        let start = self.0.len();
        self.key(tag, 2);
        self.0.push(0);
        Open { start, body: self.0.len() }
    }

    /// Ends it: puts its length before it.
    pub fn close(&mut self, at: Open) {
        let length = self.0.len() - at.body;
        let mut size = Self(Vec::with_capacity(10));
        size.varint(length as u64);
        // most are shorter than 128 bytes, and have room for their length already
        self.0[at.body - 1] = size.0[0];
        if let Some(more) = size.0.get(1..).filter(|more| !more.is_empty()) {
            self.0.extend_from_slice(more);
            self.0[at.body..].rotate_right(more.len());
        }
    }

    /// As if it had not begun.
    pub fn undo(&mut self, at: Open) {
        self.0.truncate(at.start);
    }
}

/// A message that has begun.
#[derive(Clone, Copy)]
pub struct Open {
    start: usize,
    body: usize,
}
