//! Bodies as they were before their producers compressed them.

use std::{borrow::Cow, io::Read};

use flate2::read::ZlibDecoder;
use gantry_client::MessageExt;

/// Bodies are not unpacked beyond this.
const BODY_BYTES_MAX: u64 = 64 << 20;
/// Bits of the system flag that say how a body is compressed.
const COMPRESSION: i32 = 0x700;
/// Their value for zlib; old clients leave them at 0 and mean zlib too.
const ZLIB: i32 = 0x300;

/// The message's body as it was before. One that cannot be unpacked is taken as it is.
pub fn body(message: &MessageExt) -> Cow<'_, [u8]> {
    if message.is_compressed() && matches!(message.sys_flag & COMPRESSION, 0 | ZLIB) {
        let mut plain = Vec::new();
        let unpacked =
            ZlibDecoder::new(&message.body[..]).take(BODY_BYTES_MAX).read_to_end(&mut plain);
        if unpacked.is_ok() {
            return plain.into();
        }
    }
    Cow::Borrowed(&message.body)
}
