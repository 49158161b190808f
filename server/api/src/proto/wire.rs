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
