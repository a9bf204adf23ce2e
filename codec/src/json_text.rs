//! Writing JSON text: strings with their escapes, and the few shapes of a header.

use bytes::{BufMut, BytesMut};

const HEX: [u8; 16] = *b"0123456789abcdef";

/// A JSON string with its quotes. Runs without special characters are copied whole.
pub(crate) fn write_string(text: &str, out: &mut BytesMut) {
    out.put_u8(b'"');
    let mut run = text.as_bytes();
    while let Some(at) = run.iter().position(|byte| needs_escape(*byte)) {
        let (plain, special) = run.split_at(at);
        out.put_slice(plain);
        let Some((byte, rest)) = special.split_first() else { break };
        write_escape(*byte, out);
        run = rest;
    }
    out.put_slice(run);
    out.put_u8(b'"');
}

/// A number.
pub(crate) fn write_integer(number: impl itoa::Integer, out: &mut BytesMut) {
    out.put_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn write_escape(byte: u8, out: &mut BytesMut) {
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            let [high, low] = [byte >> 4, byte & 0xf].map(|digit| HEX.get(usize::from(digit)));
            out.put_slice(b"\\u00");
            out.put_u8(high.copied().unwrap_or(b'0'));
            out.put_u8(low.copied().unwrap_or(b'0'));
            return;
        }
    };
    out.put_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(text: &str) -> BytesMut {
        let mut out = BytesMut::new();
        write_string(text, &mut out);
        out
    }

    #[test]
    fn separators_of_properties_are_escaped() {
        assert_eq!(written("a\u{1}b\u{2}\"\\\n\u{1f}é"), r#""a\u0001b\u0002\"\\\n\u001fé""#);
    }

    proptest! {
        #[test]
        fn any_text_is_read_back(text in any::<String>()) {
            prop_assert_eq!(serde_json::from_slice::<String>(&written(&text)).unwrap(), text);
        }
    }
}
