//! A stream of bytes: frames are found, decoded, and written again; a written command reads the same.

#![no_main]

use bytes::BytesMut;
use gantry_codec::{Command, CommandCodec, PullHeader, SendHeader, complete_frames};
use libfuzzer_sys::fuzz_target;
use tokio_util::codec::Decoder;

fuzz_target!(|stream: &[u8]| {
    let counted = complete_frames(stream, usize::MAX);
    let mut buf = BytesMut::from(stream);
    let mut frames = 0;
    while let Ok(Some(command)) = CommandCodec.decode(&mut buf) {
        frames += 1;
        let _ = SendHeader::decode(&command);
        let _ = PullHeader::decode(&command);
        let mut again = BytesMut::new();
        command.encode(&mut again);
        // A version or code that does not fit into the binary header is cut off on the way back.
        let read = Command::decode(again.freeze()).expect("what was written can be read");
        assert_eq!((read.opaque, read.flag, &read.body), (command.opaque, command.flag, &command.body));
        assert_eq!(read.ext, command.ext);
    }
    if let Ok(counted) = counted {
        assert!(counted.bytes <= stream.len() && frames <= counted.frames);
    }
});
