//! `gantry bench floor`: the least that a server of sends can do, to measure the distance to it.
//!
//! One thread reads bursts, finds the few header fields it needs by scanning, takes the CRC of the
//! body, copies one record into a mapped file, and answers. There is no topic, no queue, no index, no
//! flush and no reader; a batch is stored as one record; properties are copied as they stand in the
//! header, escapes and all. The file is reserved and its pages are mapped at the start, and it is used
//! again from its beginning when it is full, so that every run costs the same. Whatever a broker does
//! more than this is what it is for.
//!
//! Requests other than sends get SUCCESS, so that topics can be "created"; only a question about a
//! topic gets TOPIC_NOT_EXIST, so that the load generator asks for its creation.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::BytesMut;
use gantry_client::WallClock;
use gantry_client::burst::{BurstError, BurstStream, FrameScan};
use gantry_codec::message_id::OffsetMessageId;
use gantry_codec::record::body_crc;
use gantry_codec::{Command, Record, SendReply, SerializeType, request_code, response_code};
use gantry_storage::{Disk, RealDisk, SegmentWriter};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

use crate::args::FloorArgs;
use crate::error::BenchError;

/// Serves until the process is ended by a signal.
///
/// # Errors
/// The address or the file cannot be had.
pub fn run(args: &FloorArgs) -> Result<(), BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(BenchError::Thread)?;
    let file = |source| BenchError::File { path: args.file.clone(), source };
    let log = Log::create(args).map_err(file)?;
    let served = LocalSet::new().block_on(&runtime, serve(args.listen, log));
    std::fs::remove_file(&args.file).map_err(file)?;
    served.map_err(|source| BenchError::Listen { address: args.listen, source })
}

async fn serve(address: SocketAddr, log: Log) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind(address).await?;
    let local = listener.local_addr()?;
    println!("gantry bench floor ready on {local}");
    let log = Rc::new(RefCell::new(log));
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, remote) = accepted?;
                stream.set_nodelay(true)?;
                let floor = Floor { log: Rc::clone(&log), local, remote };
                tokio::task::spawn_local(floor.connection(stream));
            }
            _ = terminate.recv() => return Ok(()),
            interrupt = tokio::signal::ctrl_c() => return interrupt,
        }
    }
}

/// The mapped file and the place of the next record.
struct Log {
    writer: SegmentWriter,
    end: u64,
    records: i64,
}

impl Log {
    fn create(args: &FloorArgs) -> io::Result<Log> {
        let len = args.file_bytes.get();
        RealDisk.remove(&args.file)?;
        let segment = RealDisk.create_segment(&args.file, 0, len)?;
        segment.prefault(0, len);
        let writer = segment.writer().ok_or_else(|| io::Error::other("the segment is in use"))?;
        Ok(Log { writer, end: 0, records: 0 })
    }

    /// Copies one record; returns its number and its place. A record larger than the file is not
    /// written at all.
    fn append(&mut self, mut record: Record<'_>) -> (i64, u64) {
        let len = record.encoded_len() as u64;
        if self.end + len > self.writer.segment().len() {
            self.end = 0;
        }
        let (number, place) = (self.records, self.end);
        record.queue_offset = number;
        record.physical_offset = i64::try_from(place).unwrap_or(i64::MAX);
        if let Some(bytes) = self.writer.bytes(place, len) {
            record.write_to(bytes);
        }
        self.end += len;
        self.records += 1;
        (number, place)
    }
}

/// One connection.
struct Floor {
    log: Rc<RefCell<Log>>,
    local: SocketAddr,
    remote: SocketAddr,
}

impl Floor {
    async fn connection(self, stream: TcpStream) {
        let mut stream = BurstStream::new(Box::new(stream));
        let mut answers = BytesMut::new();
        // Whatever ends a connection, its client sees it.
        while self.turn(&mut stream, &mut answers).await.is_ok() {}
    }

    async fn turn(
        &self,
        stream: &mut BurstStream,
        answers: &mut BytesMut,
    ) -> Result<(), BurstError> {
        stream.turn().await?;
        let now_ms = WallClock::System.now_ms();
        while let Some(frame) = stream.next_frame()? {
            self.answer(frame, now_ms, answers);
        }
        stream.outbound().extend_from_slice(answers);
        answers.clear();
        Ok(())
    }

    fn answer(&self, frame: &[u8], now_ms: i64, out: &mut BytesMut) {
        let Ok(request) = FrameScan::scan(frame) else { return };
        match request.code {
            request_code::SEND_MESSAGE_V2 | request_code::SEND_BATCH_MESSAGE => {
                self.store(&request, now_ms, out);
            }
            code => {
                let mut answer = Command::request(code);
                answer.opaque = request.opaque;
                let code = match code {
                    request_code::GET_TOPIC_STATS_INFO => response_code::TOPIC_NOT_EXIST,
                    _ => response_code::SUCCESS,
                };
                Command::response(code, &answer).encode(out);
            }
        }
    }

    fn store(&self, request: &FrameScan<'_>, now_ms: i64, out: &mut BytesMut) {
        let text = |name| std::str::from_utf8(request.ext_raw(name).unwrap_or_default());
        let (Ok(topic), Ok(properties)) = (text("b"), text("i")) else { return };
        let queue_id = request.ext_i64("e").and_then(|id| i32::try_from(id).ok()).unwrap_or(0);
        let (queue_offset, place) = self.log.borrow_mut().append(Record {
            queue_id,
            flag: 0,
            queue_offset: 0,
            physical_offset: 0,
            sys_flag: 0,
            born_timestamp: request.ext_i64("g").unwrap_or(now_ms),
            born_host: self.remote,
            store_timestamp: now_ms,
            store_host: self.local,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body_crc: body_crc(request.body),
            body: request.body,
            topic,
            properties,
        });
        let id = OffsetMessageId { host: self.local, offset: place }.text();
        let reply = SendReply {
            opaque: request.opaque,
            code: response_code::SUCCESS,
            remark: None,
            serialize_type: SerializeType::Json,
            msg_id: id.as_str(),
            queue_id,
            queue_offset,
            transaction_id: None,
            recall_handle: None,
            region: "DefaultRegion",
            trace_on: true,
        };
        reply.encode(out);
    }
}
