//! Requests encoded once and stamped many times.
//!
//! The caller encodes an ordinary [`Command`] in which every changing part holds a *mark*: a text of
//! the right width that stands nowhere else in the frame. The template finds the marks and from then
//! on a request is one copy and a few overwritten digits, whatever the header's serialization.
//! All places keep their width: decimal values are padded with zeros, which every broker's number
//! parser accepts in ext fields. Only the opaque is a bare JSON number, where a leading zero is not
//! allowed, hence its range of ten digits.

use bytes::BytesMut;
use gantry_codec::{Command, SerializeType};
use memchr::memmem;
use thiserror::Error;

/// Smallest opaque that can be stamped: the first number of ten digits.
pub const OPAQUE_MIN: i32 = 1_000_000_000;

/// Largest opaque that can be stamped.
pub const OPAQUE_MAX: i32 = i32::MAX;

/// The opaque's place in a binary frame: after length (4), type and header length (4), code (2),
/// language (1) and version (2).
const BINARY_OPAQUE_AT: usize = 13;

/// The mark of the opaque in a JSON header.
const OPAQUE_MARK: i32 = 1_987_654_321;

/// A mark does not stand exactly once in the encoded frame.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the mark {mark:?} stands {count} times in the frame, not once")]
pub struct TemplateError {
    /// The mark.
    pub mark: String,
    /// How often it was found.
    pub count: usize,
}

/// A whole frame with places to overwrite.
#[derive(Debug, Clone)]
pub struct FrameTemplate {
    frame: Box<[u8]>,
    opaque: Place,
    opaque_is_text: bool,
    places: Box<[Place]>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    at: usize,
    width: usize,
}

impl FrameTemplate {
    /// Encodes `request` and finds the `marks`, which become the places 0, 1, … of
    /// [`Stamp::decimal`] and [`Stamp::hex`] in the order given.
    ///
    /// # Errors
    /// A mark that is missing or stands more than once.
    pub fn new(mut request: Command, marks: &[&str]) -> Result<FrameTemplate, TemplateError> {
        request.opaque = OPAQUE_MARK;
        let mut frame = BytesMut::new();
        request.encode(&mut frame);
        let opaque_is_text = request.serialize_type == SerializeType::Json;
        let opaque = if opaque_is_text {
            find_once(&frame, &OPAQUE_MARK.to_string())?
        } else {
            Place { at: BINARY_OPAQUE_AT, width: 4 }
        };
        let places = marks.iter().map(|mark| find_once(&frame, mark)).collect::<Result<_, _>>()?;
        Ok(FrameTemplate { frame: frame.to_vec().into(), opaque, opaque_is_text, places })
    }

    /// The length of every frame of this template.
    pub fn frame_len(&self) -> usize {
        self.frame.len()
    }

    /// Appends one frame with the given opaque to `out`.
    ///
    /// # Panics
    /// When `opaque` is below [`OPAQUE_MIN`].
    pub fn stamp<'a>(&'a self, opaque: i32, out: &'a mut Vec<u8>) -> Stamp<'a> {
        assert!(opaque >= OPAQUE_MIN, "opaque {opaque} has fewer than ten digits");
        let start = out.len();
        out.extend_from_slice(&self.frame);
        let frame = &mut out[start..];
        if self.opaque_is_text {
            write_digits(self.opaque.of(frame), u64::from(opaque.unsigned_abs()));
        } else {
            self.opaque.of(frame).copy_from_slice(&opaque.to_be_bytes());
        }
        Stamp { frame, places: &self.places }
    }
}

/// A frame just appended, whose places can be overwritten.
#[derive(Debug)]
pub struct Stamp<'a> {
    frame: &'a mut [u8],
    places: &'a [Place],
}

impl Stamp<'_> {
    /// Writes `value` in decimal, padded with zeros; digits beyond the place's width are lost.
    pub fn decimal(&mut self, place: usize, value: u64) -> &mut Self {
        write_digits(self.places[place].of(self.frame), value);
        self
    }

    /// Writes `value` in upper-case hexadecimal, padded with zeros; digits beyond the place's width
    /// are lost.
    pub fn hex(&mut self, place: usize, mut value: u64) -> &mut Self {
        for digit in self.places[place].of(self.frame).iter_mut().rev() {
            *digit = b"0123456789ABCDEF"[(value & 0xF) as usize];
            value >>= 4;
        }
        self
    }
}

impl Place {
    fn of(self, frame: &mut [u8]) -> &mut [u8] {
        &mut frame[self.at..self.at + self.width]
    }
}

fn write_digits(place: &mut [u8], mut value: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

fn find_once(frame: &[u8], mark: &str) -> Result<Place, TemplateError> {
    let mut found = memmem::find_iter(frame, mark.as_bytes());
    match (found.next(), found.count()) {
        (Some(at), 0) => Ok(Place { at, width: mark.len() }),
        (first, rest) => {
            Err(TemplateError { mark: mark.to_owned(), count: usize::from(first.is_some()) + rest })
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const BORN: &str = "1234567890123";
    const KEY: &str = "CAFE0000CAFE";

    fn template(serialize_type: SerializeType) -> FrameTemplate {
        let mut request = Command::request(310)
            .with_ext("b", "T")
            .with_ext("g", BORN)
            .with_ext("i", format!("UNIQ_KEY\u{1}{KEY}\u{2}").as_str())
            .with_body(Bytes::from_static(b"body"));
        request.serialize_type = serialize_type;
        FrameTemplate::new(request, &[BORN, KEY]).expect("marks stand once")
    }

    #[test]
    fn stamped_frames_decode_to_the_stamped_values() {
        for serialize_type in [SerializeType::Json, SerializeType::RocketMq] {
            let template = template(serialize_type);
            let mut out = b"earlier frame".to_vec();
            template.stamp(OPAQUE_MIN + 7, &mut out).decimal(0, 1_700_000_000_001).hex(1, 0xAB12);
            let frame = Bytes::from(out.split_off(b"earlier frame".len()));
            assert_eq!(frame.len(), template.frame_len());
            let command = Command::decode(frame).expect("a whole frame");
            assert_eq!(command.opaque, OPAQUE_MIN + 7);
            assert_eq!(command.ext.get("b"), Some("T"));
            assert_eq!(command.ext.get("g"), Some("1700000000001"));
            assert_eq!(command.ext.get("i"), Some("UNIQ_KEY\u{1}00000000AB12\u{2}"));
            assert_eq!(&command.body[..], b"body");
        }
    }

    #[test]
    fn short_values_are_padded() {
        let mut out = Vec::new();
        let template = template(SerializeType::Json);
        template.stamp(OPAQUE_MAX, &mut out).decimal(0, 42);
        let command = Command::decode(Bytes::from(out)).expect("a whole frame");
        assert_eq!(command.ext.get("g"), Some("0000000000042"));
        assert_eq!(command.opaque, OPAQUE_MAX);
    }

    #[test]
    fn marks_must_stand_exactly_once() {
        let request = || Command::request(10).with_ext("a", "xx").with_ext("b", "xx");
        let twice = FrameTemplate::new(request(), &["xx"]).expect_err("two places");
        assert_eq!(twice, TemplateError { mark: "xx".into(), count: 2 });
        let never = FrameTemplate::new(request(), &["yy"]).expect_err("no place");
        assert_eq!(never.count, 0);
    }
}
