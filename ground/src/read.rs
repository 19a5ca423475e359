//! Owns how foreign bytes come into memory: regular files only, never more than a file of its kind may have, and rows
//! one at a time. Knows the kinds and their limits; knows nothing about what the bytes mean.
//!
//! Every error is an [`io::Error`] whose text says what was found and what is allowed; the caller adds the path.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// What kind of file is read: the list of all kinds, with their limits in [`Kind::most_bytes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A config of a run, of a task or of arms, as a person writes it.
    Config,
    /// The description of a set, of a base model or of an entry of the cache.
    Manifest,
    /// `config.json` and `generation_config.json` of a checkpoint.
    ModelConfig,
    /// `tokenizer.json`.
    Tokenizer,
    /// `tokenizer_config.json`, `special_tokens_map.json`, `added_tokens.json`.
    TokenizerConfig,
    /// A chat template.
    Template,
    /// `adapter_config.json`.
    AdapterConfig,
    /// The tensors of an adapter.
    Adapter,
    /// The list of shards of a checkpoint.
    ShardIndex,
    /// The head of a file of tensors (safetensors or GGUF).
    TensorHeader,
    /// The proof of an evaluation.
    Proof,
    /// The results of an evaluation.
    Results,
    /// A short account of this program: summary, environment, decision, what was published.
    Account,
    /// A line-by-line record of this program: events, reads.
    Events,
    /// A prompt, a schema, a table of prices, a list of names to redact.
    Prompt,
    /// A licence, a card, a README.
    Prose,
    /// One row of a file of any length.
    Row,
    /// One line of a record that this program writes.
    EventLine,
    /// Text from standard input.
    StandardInput,
    /// A short file of the system: `/proc`, `/sys`, `pyvenv.cfg`.
    System,
    /// A compiled kernel of the program's own cache.
    Kernel,
}

impl Kind {
    /// The most bytes that such a file may have.
    #[must_use]
    pub const fn most_bytes(self) -> u64 {
        match self {
            Kind::System => MIB,
            Kind::Template => MIB,
            Kind::Manifest | Kind::ModelConfig | Kind::AdapterConfig => 2 * MIB,
            Kind::Config | Kind::Prompt => 4 * MIB,
            Kind::Account | Kind::Prose | Kind::EventLine => 16 * MIB,
            Kind::Row | Kind::TokenizerConfig => 32 * MIB,
            Kind::TensorHeader => 32 * MIB,
            Kind::ShardIndex | Kind::Kernel => 64 * MIB,
            // The largest vocabularies in use take 35 MB.
            Kind::Tokenizer => 128 * MIB,
            Kind::StandardInput => 64 * MIB,
            Kind::Proof | Kind::Results | Kind::Events => GIB,
            Kind::Adapter => 64 * GIB,
        }
    }

    /// What such a file is called in an error.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Config => "a config",
            Kind::Manifest => "a description of a set or model",
            Kind::ModelConfig => "a config of a model",
            Kind::Tokenizer => "a tokenizer",
            Kind::TokenizerConfig => "a config of a tokenizer",
            Kind::Template => "a chat template",
            Kind::AdapterConfig => "a config of an adapter",
            Kind::Adapter => "an adapter",
            Kind::ShardIndex => "a list of shards",
            Kind::TensorHeader => "a header of tensors",
            Kind::Proof => "a proof",
            Kind::Results => "results",
            Kind::Account => "an account of a run",
            Kind::Events => "a record of a run",
            Kind::Prompt => "a prompt or schema",
            Kind::Prose => "a text",
            Kind::Row => "a row",
            Kind::EventLine => "a line of a record",
            Kind::StandardInput => "standard input",
            Kind::System => "a file of the system",
            Kind::Kernel => "a compiled kernel",
        }
    }
}

/// Opens a regular file of any length: for what is streamed or mapped. A pipe, a device, a socket or a folder is refused
/// before it is opened, so that nothing waits for a writer.
///
/// # Errors
/// When the path is no regular file, or the file system refuses.
pub fn open(path: &Path) -> io::Result<File> {
    regular(&std::fs::metadata(path)?)?;
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        // A pipe that took the place of the file meanwhile must not hold us.
        options.custom_flags(libc::O_NONBLOCK);
    }
    let file = options.open(path)?;
    regular(&file.metadata()?)?;
    Ok(file)
}

/// Reads a whole file of a kind.
///
/// # Errors
/// When it is no regular file, has more bytes than its kind may have, or the file system refuses.
pub fn bytes(path: &Path, kind: Kind) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let length = file.metadata()?.len();
    if length > kind.most_bytes() {
        return Err(too_large(kind, Some(length)));
    }
    // What /proc says of its files is zero; they are read all the same.
    let mut content = Vec::with_capacity(usize::try_from(length.min(MIB * 64)).unwrap_or_default() + 1);
    append(&mut content, file, kind)?;
    Ok(content)
}

/// Reads a whole file of a kind if there is something of that name. What is there and is no file is an error, not nothing.
///
/// # Errors
/// As [`bytes`]; a link that leads nowhere is one too.
pub fn optional(path: &Path, kind: Kind) -> io::Result<Option<Vec<u8>>> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        _ => bytes(path, kind).map(Some),
    }
}

/// Reads a whole file of text.
///
/// # Errors
/// As [`bytes`], and when it is not UTF-8.
pub fn text(path: &Path, kind: Kind) -> io::Result<String> {
    utf8(bytes(path, kind)?)
}

/// Reads a stream (an answer of a server, a member of an archive, standard input) to its end.
///
/// # Errors
/// When it has more bytes than its kind may have, or reading fails.
pub fn stream(from: impl Read, kind: Kind) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    append(&mut content, from, kind)?;
    Ok(content)
}

/// Reads a stream that must not have more bytes than `most`, as somebody declared them.
///
/// # Errors
/// When it has more, or reading fails.
pub fn at_most(from: impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let read = from.take(most.saturating_add(1)).read_to_end(&mut content)? as u64;
    if read > most {
        return Err(invalid(format!("has more than the {} that are allowed", size(most))));
    }
    Ok(content)
}

/// The first bytes of a stream, `most` at most; what follows is not read.
///
/// # Errors
/// When reading fails.
pub fn first(from: impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    from.take(most).read_to_end(&mut content)?;
    Ok(content)
}

/// Reads a stream of text to its end.
///
/// # Errors
/// As [`stream`], and when it is not UTF-8.
pub fn stream_text(from: impl Read, kind: Kind) -> io::Result<String> {
    utf8(stream(from, kind)?)
}

/// The lines of a regular file of any length, each no longer than `line` may be.
///
/// # Errors
/// When the path is no regular file, or the file system refuses.
pub fn lines(path: &Path, line: Kind) -> io::Result<Lines<BufReader<File>>> {
    Ok(Lines::new(BufReader::with_capacity(1 << 18, open(path)?), line))
}

/// Lines of bounded length, without their line breaks (`\n` or `\r\n`).
#[derive(Debug)]
pub struct Lines<R> {
    from: R,
    kind: Kind,
    failed: bool,
    consumed: u64,
    is_whole: bool,
}

impl<R: BufRead> Lines<R> {
    /// Lines of a stream, each no longer than `kind` may be.
    pub fn new(from: R, kind: Kind) -> Self {
        Self { from, kind, failed: false, consumed: 0, is_whole: true }
    }

    /// Bytes of the lines so far, their line breaks included.
    #[must_use]
    pub fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Whether the last line had its line break: one that a kill cut short has none.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    /// A line as bytes. After an error there are no more: what follows a line that is too long is not read.
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let mut line = Vec::new();
        // One byte for each part of the line break, one to see that there is more.
        let most = self.kind.most_bytes();
        let read = (&mut self.from).take(most + 2).read_until(b'\n', &mut line);
        let result = match read {
            Ok(0) => return None,
            Ok(read) => {
                self.consumed += read as u64;
                self.is_whole = line.last() == Some(&b'\n');
                if self.is_whole {
                    line.pop();
                    if line.last() == Some(&b'\r') {
                        line.pop();
                    }
                }
                if line.len() as u64 > most { Err(too_large(self.kind, None)) } else { Ok(line) }
            }
            Err(error) => Err(error),
        };
        self.failed = result.is_err();
        Some(result)
    }
}

/// Fails unless something is a regular file, and says what it is.
///
/// # Errors
/// When it is a folder, a pipe, a device or a socket.
pub fn regular(found: &Metadata) -> io::Result<()> {
    if found.is_file() {
        return Ok(());
    }
    Err(invalid(format!("is {}, not a file", what_it_is(found))))
}

/// Bytes in words.
#[must_use]
pub fn size(bytes: u64) -> String {
    match bytes {
        GIB.. => format!("{:.1} GiB", bytes as f64 / GIB as f64),
        MIB.. => format!("{:.1} MiB", bytes as f64 / MIB as f64),
        KIB.. => format!("{:.1} KiB", bytes as f64 / KIB as f64),
        _ => format!("{bytes} bytes"),
    }
}

fn append(content: &mut Vec<u8>, from: impl Read, kind: Kind) -> io::Result<()> {
    let most = kind.most_bytes();
    let read = from.take(most + 1).read_to_end(content)? as u64;
    if read > most { Err(too_large(kind, None)) } else { Ok(()) }
}

fn utf8(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(|error| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("is not UTF-8 text (byte {})\nhint: save it as UTF-8", error.utf8_error().valid_up_to()),
        )
    })
}

fn too_large(kind: Kind, found: Option<u64>) -> io::Error {
    let found = found.map_or_else(|| "more".to_owned(), size);
    invalid(format!("has {found}, and {} has at most {}", kind.name(), size(kind.most_bytes())))
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

#[cfg(unix)]
fn what_it_is(found: &Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt as _;
    let kind = found.file_type();
    if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(not(unix))]
fn what_it_is(found: &Metadata) -> &'static str {
    if found.is_dir() { "a folder" } else { "something else" }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_and_a_larger_one_is_refused_unread() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, "{}").unwrap();
        assert_eq!(text(&path, Kind::ModelConfig).unwrap(), "{}");
        // A file of 20 GB that holds nothing.
        File::create(&path).unwrap().set_len(20 << 30).unwrap();
        let error = bytes(&path, Kind::ModelConfig).unwrap_err().to_string();
        assert_eq!(error, "has 20.0 GiB, and a config of a model has at most 2.0 MiB");
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        for (path, words) in [(Path::new("/dev/zero"), "a device"), (folder.path(), "a folder")] {
            assert_eq!(bytes(path, Kind::Proof).unwrap_err().to_string(), format!("is {words}, not a file"));
            assert_eq!(open(path).unwrap_err().to_string(), format!("is {words}, not a file"));
            assert!(lines(path, Kind::Row).is_err());
        }
        let pipe = folder.path().join("pipe");
        let name = std::ffi::CString::new(pipe.to_str().unwrap()).unwrap();
        #[allow(unsafe_code)]
        // SAFETY: the name is a string that ends with a zero and outlives the call.
        let made = unsafe { libc::mkfifo(name.as_ptr(), 0o600) };
        assert_eq!(made, 0);
        assert_eq!(bytes(&pipe, Kind::Proof).unwrap_err().to_string(), "is a pipe, not a file");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
        assert_eq!(bytes(&link, Kind::Proof).unwrap_err().to_string(), "is a device, not a file");
    }

    #[test]
    fn what_may_be_absent_is_nothing_only_where_nothing_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("generation_config.json");
        assert_eq!(optional(&path, Kind::ModelConfig).unwrap(), None);
        std::fs::create_dir(&path).unwrap();
        assert_eq!(optional(&path, Kind::ModelConfig).unwrap_err().to_string(), "is a folder, not a file");
        std::fs::remove_dir(&path).unwrap();
        std::fs::write(&path, "{}").unwrap();
        assert_eq!(optional(&path, Kind::ModelConfig).unwrap().as_deref(), Some(&b"{}"[..]));
    }

    #[test]
    fn a_stream_without_end_is_left_at_its_limit() {
        let error = stream(io::repeat(b'x'), Kind::Template).unwrap_err().to_string();
        assert_eq!(error, "has more, and a chat template has at most 1.0 MiB");
        assert_eq!(at_most(&b"four"[..], 4).unwrap(), b"four");
        assert!(at_most(&b"fives"[..], 4).is_err());
    }

    #[test]
    fn a_line_without_end_is_refused_and_nothing_follows_it() {
        let mut long = vec![b'a'; Kind::Row.most_bytes() as usize + 3];
        long.extend_from_slice(b"\nrest\n");
        let mut lines = Lines::new(&long[..], Kind::Row);
        assert!(lines.next().unwrap().is_err());
        assert!(lines.next().is_none());
    }

    #[test]
    fn a_line_that_was_cut_short_is_told_from_a_whole_one() {
        let mut lines = Lines::new(&b"ab\r\ncd\nef"[..], Kind::Row);
        let mut told = Vec::new();
        while let Some(line) = lines.next() {
            told.push((line.unwrap(), lines.consumed(), lines.is_whole()));
        }
        assert_eq!(told, [(b"ab".to_vec(), 4, true), (b"cd".to_vec(), 7, true), (b"ef".to_vec(), 9, false)]);
    }

    #[test]
    fn text_that_is_not_utf8_says_where() {
        let error = stream_text(&b"ab\xffc"[..], Kind::Prompt).unwrap_err().to_string();
        assert!(error.starts_with("is not UTF-8 text (byte 2)"), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn lines_are_those_of_the_standard_library(text in "[a\r\n]{0,40}") {
            let ours: Vec<String> = Lines::new(text.as_bytes(), Kind::Row)
                .map(|line| String::from_utf8(line.unwrap()).unwrap()).collect();
            let theirs: Vec<String> = text.as_bytes().lines().map(Result::unwrap).collect();
            proptest::prop_assert_eq!(ours, theirs);
        }
    }
}
