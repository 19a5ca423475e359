//! Members of a wheel, unpacked within bounds: the one place where this program reads an archive.
//!
//! Owns what an archive may hold: how long its list of files is, which names stand there, how much it unpacks to. Sizes
//! that an archive declares are compared with what may be before a byte is unpacked, and with what came out after.
//! Knows nothing about what the members mean.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result, anyhow, bail};
use ground::name::is_path_inside;
use ground::read::size;
use ground::terminal::shown_in_line;
use ground::write::Access;
use zip::ZipArchive;

use super::cache::{FileRecord, copy_hashing};

/// Bytes of the list of files; that of a hundred thousand has a third.
const LIST_BYTES: u64 = 32 << 20;
/// Files of an archive.
const MOST_FILES: usize = 300_000;
/// What any archive may unpack to, however small it is.
const SMALL: u64 = 64 << 20;
/// Names that are held against a misspelt one.
const NAMES_COMPARED: usize = 5_000;

/// What to do about an archive that is refused.
const HINT: &str = "hint: nothing of it is used; take another wheel, or put the files on this machine yourself";

/// How much an archive may unpack to.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Times its own size, besides 64 MiB.
    pub times: u64,
    /// At most, whatever its size.
    pub most: u64,
}

/// Weights hardly get smaller when they are packed.
pub const WEIGHTS: Bounds = Bounds { times: 4, most: u64::MAX };
/// Texts that are held in memory.
pub const TEXTS: Bounds = Bounds { times: 16, most: 1 << 30 };

/// An archive whose list of files was read.
pub struct Archive {
    zip: ZipArchive<Listed>,
    shown: String,
    /// Bytes that may still be unpacked.
    left: u64,
}

impl Archive {
    /// Opens an archive and looks at the name of every file in it.
    pub fn open(path: &Path, bounds: Bounds) -> Result<Self> {
        let shown = shown_in_line(&path.file_name().unwrap_or_default().to_string_lossy()).into_owned();
        let file = ground::read::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let bytes = file.metadata().with_context(|| format!("cannot read {}", path.display()))?.len();
        let allowed = Rc::new(Cell::new(LIST_BYTES));
        let listed = Listed { file: BufReader::new(file), at: 0, length: bytes, allowed: Rc::clone(&allowed) };
        let opened = ground::panics::caught(|| ZipArchive::new(listed)).map_err(|words| anyhow!("{words}"));
        let zip = opened
            .and_then(|zip| Ok(zip?))
            .with_context(|| format!("{shown} is not a readable zip archive\n{HINT}"))?;
        // From here on the members are read, each with bounds of its own.
        allowed.set(u64::MAX);
        if zip.len() > MOST_FILES {
            bail!("{shown} lists {} files, and an archive may have {MOST_FILES}\n{HINT}", zip.len());
        }
        if let Some(name) = zip.file_names().find(|name| leads_out(name)) {
            bail!("{shown} has a member `{}`, which leads out of any folder\n{HINT}", shown_in_line(name));
        }
        let left = bytes.saturating_mul(bounds.times).saturating_add(SMALL).min(bounds.most);
        Ok(Self { zip, shown, left })
    }

    /// Its file name, for messages.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Paths of all files, in the order of the archive.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.zip.file_names().filter(|name| !name.ends_with('/'))
    }

    /// Unpacks a member of at most `most` bytes to a file, whole or not at all.
    pub fn write(&mut self, member: &str, most: u64, target: &Path) -> Result<FileRecord> {
        let mut record = None;
        ground::write::file_with(target, Access::AsUsual, |out| {
            record = Some(self.unpack(member, most, out)?);
            anyhow::Ok(())
        })
        .with_context(|| format!("cannot unpack to {}", target.display()))?;
        record.with_context(|| format!("nothing was unpacked to {}", target.display()))
    }

    /// Unpacks a member of at most `most` bytes into memory.
    pub fn read(&mut self, member: &str, most: u64) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        self.unpack(member, most, &mut content)?;
        Ok(content)
    }

    /// The one place where something is unpacked.
    fn unpack(&mut self, name: &str, most: u64, to: &mut dyn Write) -> Result<FileRecord> {
        self.known(name)?;
        let place = format!("`{}` in {}", shown_in_line(name), self.shown);
        if !is_path_inside(name) {
            bail!("{place} is no name of a file in a folder\n{HINT}");
        }
        let most = most.min(self.left);
        let zip = &mut self.zip;
        let unpacked = ground::panics::caught(|| -> Result<FileRecord> {
            let mut member = zip.by_name(name).with_context(|| format!("cannot read {place}"))?;
            if !member.is_file() {
                bail!("{place} is a link or a folder, not a file\n{HINT}");
            }
            let declared = member.size();
            if declared > most {
                bail!("{place} unpacks to {}, and {} are allowed\n{HINT}", size(declared), size(most));
            }
            let record = copy_hashing((&mut member).take(declared.saturating_add(1)), to);
            let record = record.with_context(|| format!("cannot unpack {place}"))?;
            if record.bytes != declared {
                bail!("{place} unpacks to other than the {declared} bytes that the archive declares\n{HINT}");
            }
            Ok(record)
        });
        let record = unpacked.map_err(|words| anyhow!("cannot unpack {place}: {words}"))??;
        self.left -= record.bytes;
        Ok(record)
    }

    /// Refuses a name that is not there, with the nearest one.
    fn known(&self, name: &str) -> Result<()> {
        if self.zip.index_for_name(name).is_some() {
            return Ok(());
        }
        let near = self.files().take(NAMES_COMPARED).filter(|other| other.len() <= 255);
        let near = near.max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
        let hint = near.map(|near| format!("\nhint: the nearest name in it is `{}`", shown_in_line(near)));
        bail!("{} has no member `{}`{}", self.shown, shown_in_line(name), hint.unwrap_or_default())
    }
}

/// Whether a name, put behind that of a folder, may name something outside of it.
fn leads_out(name: &str) -> bool {
    let drive = name.as_bytes().get(1) == Some(&b':');
    drive || name.starts_with(['/', '\\']) || name.split(['/', '\\']).any(|part| part == "..")
}

/// A file of which only so many bytes may be read, until somebody allows more. Short ways within what was read ahead
/// cost no call of the system: the list of files is read in steps of some bytes.
struct Listed {
    file: BufReader<File>,
    at: u64,
    length: u64,
    allowed: Rc<Cell<u64>>,
}

impl Read for Listed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.at += count as u64;
        let left = self.allowed.get().checked_sub(count as u64);
        let left = left.ok_or_else(|| io::Error::other(format!("its list of files is above {}", size(LIST_BYTES))))?;
        if self.allowed.get() != u64::MAX {
            self.allowed.set(left);
        }
        Ok(count)
    }
}

impl Seek for Listed {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let outside = || io::Error::new(io::ErrorKind::InvalidInput, "a place outside of the file");
        let to = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
        };
        let to = to.ok_or_else(outside)?;
        let by = i64::try_from(i128::from(to) - i128::from(self.at)).map_err(|_| outside())?;
        self.file.seek_relative(by)?;
        self.at = to;
        Ok(to)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use zip::write::SimpleFileOptions;

    use super::*;

    fn packed(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut archive = zip::ZipWriter::new(io::Cursor::new(&mut bytes));
        for (name, content) in members {
            archive.start_file(*name, SimpleFileOptions::default()).unwrap();
            archive.write_all(content).unwrap();
        }
        archive.finish().unwrap();
        bytes
    }

    fn opened(bytes: &[u8], bounds: Bounds) -> Result<Archive> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny-1.0.whl");
        std::fs::write(&path, bytes).unwrap();
        Archive::open(&path, bounds)
    }

    #[test]
    fn a_member_above_its_bound_is_refused_before_it_is_unpacked() {
        let zeros = vec![0_u8; 65 << 20];
        let bytes = packed(&[("a/weights", &zeros), ("a/small", b"words")]);
        assert!(bytes.len() < 100_000);
        let mut archive = opened(&bytes, WEIGHTS).unwrap();
        let error = archive.read("a/weights", u64::MAX).unwrap_err().to_string();
        assert!(error.starts_with("`a/weights` in tiny-1.0.whl unpacks to 65.0 MiB, and 64."), "{error}");
        assert!(archive.read("a/small", 4).unwrap_err().to_string().contains("unpacks to 5 bytes, and 4 bytes are"));
        assert_eq!(archive.read("a/small", 5).unwrap(), b"words");
    }

    #[test]
    fn what_all_members_unpack_to_together_is_bounded() {
        let zeros = vec![0_u8; 40 << 20];
        let mut archive = opened(&packed(&[("a", &zeros), ("b", &zeros)]), TEXTS).unwrap();
        assert_eq!(archive.read("a", u64::MAX).unwrap().len(), 40 << 20);
        assert!(archive.read("b", u64::MAX).unwrap_err().to_string().contains("unpacks to 40.0 MiB, and 2"));
    }

    #[test]
    fn a_size_that_is_not_what_comes_out_is_refused() {
        let content = vec![7_u8; 5000];
        let whole = packed(&[("a", &content)]);
        for said in [4_u32, 4999, 5001, 60_000] {
            let mut bytes = whole.clone();
            // The size stands in the local header and, for the reader, in the list at the end.
            let list = bytes.windows(4).position(|sign| sign == b"PK\x01\x02").unwrap();
            bytes[22..26].copy_from_slice(&said.to_le_bytes());
            bytes[list + 24..list + 28].copy_from_slice(&said.to_le_bytes());
            let error = format!("{:#}", opened(&bytes, TEXTS).unwrap().read("a", u64::MAX).unwrap_err());
            assert!(error.contains("other than the") || error.contains("cannot unpack"), "{said}: {error}");
        }
    }

    #[test]
    fn names_that_lead_out_and_links_are_refused() {
        for name in ["../x", "a/../../x", "/etc/x", "..\\x", "C:\\x", "\\x"] {
            let error = opened(&packed(&[("good", b"x"), (name, b"y")]), TEXTS).err().unwrap().to_string();
            assert!(error.contains("leads out of any folder"), "{name}: {error}");
        }
        let mut bytes = Vec::new();
        let mut archive = zip::ZipWriter::new(io::Cursor::new(&mut bytes));
        archive.add_symlink("link", "/etc/passwd", SimpleFileOptions::default()).unwrap();
        archive.start_file("odd\u{1b}name", SimpleFileOptions::default()).unwrap();
        archive.finish().unwrap();
        let mut archive = opened(&bytes, TEXTS).unwrap();
        assert!(archive.read("link", 100).unwrap_err().to_string().contains("is a link or a folder"));
        let error = archive.read("odd\u{1b}name", 100).unwrap_err().to_string();
        assert!(error.contains("\\u{1b}") && error.contains("no name of a file"), "{error}");
    }

    #[test]
    fn a_list_without_end_and_what_is_no_archive_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.whl");
        // Zeros in which the end of an archive is looked for from the back.
        File::create(&path).unwrap().set_len(200 << 20).unwrap();
        let error = format!("{:#}", Archive::open(&path, TEXTS).err().unwrap());
        assert!(error.contains("x.whl is not a readable zip archive"), "{error}");
        assert!(error.contains("its list of files is above 32.0 MiB"), "{error}");
        assert!(Archive::open(folder.path(), TEXTS).is_err());
    }

    #[test]
    fn broken_bytes_give_an_error_or_members_within_their_bounds() {
        let bounds = Bounds { times: 1, most: 4096 };
        let whole = packed(&[("a/one.LICENSE", b"words words words words"), ("a/two", &[9; 700]), ("b/", b"")]);
        let words: [&[u8]; 6] = [b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"\xff\xff\xff\xff", b"../", b"\0\0"];
        ground::mutate::rounds(|round| {
            let Ok(mut archive) = opened(&ground::mutate::mutated(&whole, &words, round), bounds) else { return };
            let names: Vec<String> = archive.files().map(str::to_owned).collect();
            let contents = names.iter().filter_map(|name| archive.read(name, 2048).ok());
            let sizes: Vec<usize> = contents.map(|content| content.len()).collect();
            assert!(sizes.iter().all(|bytes| *bytes <= 2048) && sizes.iter().sum::<usize>() <= 4096, "{sizes:?}");
        });
    }
}
