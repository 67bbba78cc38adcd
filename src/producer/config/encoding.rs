//! Decodes a settings file into text.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::{Error, advice_on_path};
use crate::secret::{Secret, wipe};

use super::config_error;

/// A file's text, which may have secrets, and the first line that is not UTF-8, if there is one.
#[derive(Debug)]
pub(super) struct FileText {
    pub(super) text: Secret,
    pub(super) first_latin1_line: Option<usize>,
}

/// Reads a file of at most 1 MiB.
pub(super) fn read_file(path: &Path) -> Result<FileText, Error> {
    const LONGEST: u64 = 1 << 20;
    let unreadable = |error: std::io::Error| {
        let advice = advice_on_path(path, &error).map(|advice| format!("; {advice}"));
        let advice = advice.unwrap_or_default();
        config_error(format!(
            "{}: cannot be read: {error}{advice}",
            path.display()
        ))
        .with_source(error)
    };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    // Room for all of it: a buffer that grows would leave copies behind. The size of a pipe is not known.
    let room = match metadata.is_file() {
        true => metadata.len().min(LONGEST),
        false => LONGEST,
    };
    let mut bytes = Vec::with_capacity(room as usize + 2);
    let read = file.take(LONGEST + 1).read_to_end(&mut bytes);
    if read.is_err() || bytes.len() as u64 > LONGEST {
        wipe(&mut bytes);
    }
    read.map_err(unreadable)?;
    if bytes.len() as u64 > LONGEST {
        return Err(config_error(format!(
            "{}: longer than {LONGEST} bytes",
            path.display()
        )));
    }
    decode(bytes).map_err(|fault| config_error(format!("{}: {fault}", path.display())))
}

/// Decodes UTF-8, which editors write. A file that is not UTF-8 is decoded as ISO-8859-1 (Latin-1), as Java decodes every
/// file. The two can give different values only for `client.id`, and only without an escape such as `\u00e9`. UTF-16 is
/// refused, because Java misreads it.
fn decode(mut bytes: Vec<u8>) -> Result<FileText, String> {
    let fault = if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        Some("is UTF-16: save it as UTF-8".to_owned())
    } else {
        let zero = bytes.iter().position(|byte| *byte == 0);
        zero.map(|at| {
            format!(
                "has a zero byte in line {}: it is UTF-16 or not a text file; save it as UTF-8",
                line_of(&bytes[..at])
            )
        })
    };
    if let Some(fault) = fault {
        wipe(&mut bytes);
        return Err(fault);
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(FileText {
            text: Secret::new(text),
            first_latin1_line: None,
        }),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let mut bytes = error.into_bytes();
            let line = line_of(&bytes[..valid]);
            // A byte becomes two at most.
            let mut text = String::with_capacity(2 * bytes.len());
            text.extend(bytes.iter().copied().map(char::from));
            wipe(&mut bytes);
            Ok(FileText {
                text: Secret::new(text),
                first_latin1_line: Some(line),
            })
        }
    }
}

/// The number, from 1, of the line in which `before` ends. Lines end with `\n`, `\r\n` or `\r`.
fn line_of(before: &[u8]) -> usize {
    let ends = |(index, byte): (usize, &u8)| match byte {
        b'\n' => true,
        b'\r' => before.get(index + 1) != Some(&b'\n'),
        _ => false,
    };
    1 + before
        .iter()
        .enumerate()
        .filter(|(index, byte)| ends((*index, byte)))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_missing_or_too_long_are_refused_by_name() {
        let directory =
            std::env::temp_dir().join(format!("kafka-producer-encoding-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("producer.properties");
        let missing = read_file(&path).unwrap_err().to_string();
        assert!(missing.contains("cannot be read"), "{missing}");
        std::fs::write(&path, vec![b'#'; (1 << 20) + 1]).unwrap();
        let long = read_file(&path).unwrap_err().to_string();
        assert!(
            long.contains("longer than") && long.contains("producer.properties"),
            "{long}"
        );
        std::fs::write(&path, "a=b").unwrap();
        assert_eq!(read_file(&path).unwrap().text.reveal(), "a=b");
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_file_that_is_not_utf8_is_read_as_latin1_and_its_first_such_line_reported() {
        let latin1 = decode(b"# caf\xe9\r\na=b\rclient.id=\xfc\n".to_vec()).unwrap();
        assert_eq!(
            latin1.text.reveal(),
            "# caf\u{e9}\r\na=b\rclient.id=\u{fc}\n"
        );
        assert_eq!(latin1.first_latin1_line, Some(1));
        let latin1 = decode(b"# cafe\r\na=b\rclient.id=\xfc\n".to_vec()).unwrap();
        assert_eq!(latin1.first_latin1_line, Some(3));
        let utf8 = decode("client.id=café".as_bytes().to_vec()).unwrap();
        assert_eq!(utf8.text.reveal(), "client.id=café");
        assert_eq!(utf8.first_latin1_line, None);
    }

    #[test]
    fn utf16_is_refused_with_what_to_do() {
        for bytes in [
            &b"\xff\xfea\0"[..],
            b"\xfe\xff\0a",
            b"a=b\nc\0=\0",
            b"\0\0\xfe\xff",
        ] {
            let fault = decode(bytes.to_vec()).unwrap_err();
            assert!(
                fault.contains("UTF-16") && fault.contains("save it as UTF-8"),
                "{fault}"
            );
        }
        assert!(
            decode(b"a=b\nc\0=\0".to_vec())
                .unwrap_err()
                .contains("line 2")
        );
    }
}
