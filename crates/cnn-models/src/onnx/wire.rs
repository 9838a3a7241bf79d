//! The wire format of protocol buffers: tags, varints, fixed and length-delimited fields. Nothing is copied, every length is
//! checked against what is there, and messages nest to a fixed depth.

use std::ops::Range;

/// How deep messages may lie within each other. Attributes hold graphs, whose nodes hold attributes; real files need about ten.
const DEEPEST: usize = 64;

/// Why bytes are no message.
pub(super) type Malformed = &'static str;

/// A message that is not read yet: a range of the file.
#[derive(Debug, Clone)]
pub(super) struct Message<'a> {
    file: &'a [u8],
    range: Range<usize>,
    depth: usize,
}

/// What stands in a field.
#[derive(Debug, Clone)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Fixed32([u8; 4]),
    Bytes(Message<'a>),
}

/// A field's number and what stands in it.
pub(super) type Field<'a> = (u64, Value<'a>);

impl<'a> Message<'a> {
    /// A whole file.
    pub(super) fn new(file: &'a [u8]) -> Self {
        Message { file, range: 0..file.len(), depth: 0 }
    }

    /// The next field; nothing at the end.
    pub(super) fn next(&mut self) -> Result<Option<Field<'a>>, Malformed> {
        if self.range.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(self.array()?),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| "a length beyond the end")?;
                let range = self.take(length)?;
                Value::Bytes(Message { file: self.file, range, depth: self.depth + 1 })
            }
            5 => Value::Fixed32(self.array()?),
            _ => return Err("a field of a kind that the format does not have"),
        };
        match tag >> 3 {
            0 => Err("a field numbered 0"),
            number => Ok(Some((number, value))),
        }
    }

    fn take(&mut self, length: usize) -> Result<Range<usize>, Malformed> {
        if length > self.range.len() {
            return Err("a length beyond the end");
        }
        let taken = self.range.start..self.range.start + length;
        self.range.start = taken.end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let range = self.take(N)?;
        self.file[range].try_into().map_err(|_| "a number cut off")
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..).step_by(7).take(10) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a number of more than 64 bits")
    }

    /// The bytes as they are.
    pub(super) fn bytes(&self) -> &'a [u8] {
        &self.file[self.range.clone()]
    }

    /// Where the bytes lie in the file.
    pub(super) fn range(&self) -> Range<usize> {
        self.range.clone()
    }
}

impl<'a> Value<'a> {
    /// A message within this one, which must not lie too deep.
    pub(super) fn message(self) -> Result<Message<'a>, Malformed> {
        match self {
            Value::Bytes(message) if message.depth > DEEPEST => Err("messages nested too deep"),
            Value::Bytes(message) => Ok(message),
            _ => Err("a number where a message belongs"),
        }
    }

    /// UTF-8 text.
    pub(super) fn text(self) -> Result<String, Malformed> {
        match self {
            Value::Bytes(message) => {
                std::str::from_utf8(message.bytes()).map(str::to_string).map_err(|_| "text that is no UTF-8")
            }
            _ => Err("a number where text belongs"),
        }
    }

    /// A whole number.
    pub(super) fn int(self) -> Result<i64, Malformed> {
        match self {
            Value::Varint(value) => Ok(value as i64),
            _ => Err("something else where a whole number belongs"),
        }
    }

    /// A number of single precision.
    pub(super) fn float(self) -> Result<f32, Malformed> {
        match self {
            Value::Fixed32(bytes) => Ok(f32::from_le_bytes(bytes)),
            _ => Err("something else where a float belongs"),
        }
    }

    /// Adds one whole number, or a packed list of them.
    pub(super) fn ints(self, to: &mut Vec<i64>) -> Result<(), Malformed> {
        match self {
            Value::Bytes(mut packed) => {
                while !packed.range.is_empty() {
                    to.push(packed.varint()? as i64);
                }
            }
            single => to.push(single.int()?),
        }
        Ok(())
    }

    /// Adds one number of single precision, or a packed list of them.
    pub(super) fn floats(self, to: &mut Vec<f32>) -> Result<(), Malformed> {
        match self {
            Value::Bytes(packed) if packed.range.len() % 4 != 0 => return Err("a list of floats cut off"),
            Value::Bytes(packed) => {
                to.extend(packed.bytes().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])));
            }
            single => to.push(single.float()?),
        }
        Ok(())
    }

    /// Adds one number of double precision, or a packed list of them.
    pub(super) fn doubles(self, to: &mut Vec<f64>) -> Result<(), Malformed> {
        match self {
            Value::Fixed64(bytes) => to.push(f64::from_le_bytes(bytes)),
            Value::Bytes(mut packed) if packed.range.len() % 8 == 0 => {
                while !packed.range.is_empty() {
                    to.push(f64::from_le_bytes(packed.array()?));
                }
            }
            _ => return Err("something else where doubles belong"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(bytes: &[u8]) -> Result<Vec<u64>, Malformed> {
        let mut message = Message::new(bytes);
        let mut numbers = Vec::new();
        while let Some((number, _)) = message.next()? {
            numbers.push(number);
        }
        Ok(numbers)
    }

    #[test]
    fn every_kind_of_field_is_read() {
        assert_eq!(fields(&[]), Ok(vec![]));
        let all = [0x08, 0x96, 0x01, 0x12, 2, b'h', b'i', 0x1d, 0, 0, 0x80, 0x3f, 0x21, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(fields(&all), Ok(vec![1, 2, 3, 4]));
        let mut message = Message::new(&all);
        assert_eq!(message.next().unwrap().unwrap().1.int(), Ok(150));
        assert_eq!(message.next().unwrap().unwrap().1.text(), Ok("hi".to_string()));
        assert_eq!(message.next().unwrap().unwrap().1.float(), Ok(1.0));
        let negative = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(Message::new(&negative).next().unwrap().unwrap().1.int(), Ok(-1));
    }

    #[test]
    fn numbers_alone_and_packed_are_the_same() {
        let (mut ints, mut floats, mut doubles) = (Vec::new(), Vec::new(), Vec::new());
        for bytes in [&[0x08, 7][..], &[0x0a, 2, 7, 7][..]] {
            Message::new(bytes).next().unwrap().unwrap().1.ints(&mut ints).unwrap();
        }
        assert_eq!(ints, [7, 7, 7]);
        Message::new(&[0x0a, 4, 0, 0, 0, 0x40]).next().unwrap().unwrap().1.floats(&mut floats).unwrap();
        assert_eq!(floats, [2.0]);
        Message::new(&[0x0a, 8, 0, 0, 0, 0, 0, 0, 0, 0x40]).next().unwrap().unwrap().1.doubles(&mut doubles).unwrap();
        assert_eq!(doubles, [2.0]);
    }

    #[test]
    fn what_is_cut_off_or_lies_is_an_error() {
        for bytes in [
            &[0x08][..],
            &[0x08, 0x80],
            &[0x12, 5, 0],
            &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            &[0x1d, 0, 0],
            &[0x21, 0],
            &[0x0b],
            &[0x0c],
            &[0x0e],
            &[0x00, 0x00],
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
        ] {
            assert!(fields(bytes).is_err(), "{bytes:?}");
        }
        let mut floats = Vec::new();
        assert!(Message::new(&[0x0a, 3, 0, 0, 0]).next().unwrap().unwrap().1.floats(&mut floats).is_err());
    }

    #[test]
    fn messages_nest_to_a_fixed_depth() {
        fn depth(message: &mut Message<'_>) -> Result<usize, Malformed> {
            match message.next()? {
                Some((_, value)) => Ok(1 + depth(&mut value.message()?)?),
                None => Ok(0),
            }
        }
        let nested = |levels: usize| {
            (0..levels).fold(Vec::new(), |inner: Vec<u8>, _| {
                let mut length = inner.len();
                let mut bytes = vec![0x0a];
                while length >= 0x80 {
                    bytes.push(length as u8 | 0x80);
                    length >>= 7;
                }
                bytes.push(length as u8);
                bytes.extend(inner);
                bytes
            })
        };
        assert_eq!(depth(&mut Message::new(&nested(DEEPEST))), Ok(DEEPEST));
        assert_eq!(depth(&mut Message::new(&nested(DEEPEST + 1))), Err("messages nested too deep"));
    }
}
