//! What the command line says, as `key=value`.

use std::{collections::BTreeMap, io, net::SocketAddrV4, str::FromStr};

pub struct Options(BTreeMap<String, String>);

pub fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what.to_owned())
}

pub fn address(text: &str) -> io::Result<SocketAddrV4> {
    text.parse()
        .map_err(|_| wrong(&format!("{text}: no IPv4 address with a port")))
}

pub fn port(text: &str) -> io::Result<u16> {
    text.parse().map_err(|_| wrong(&format!("{text}: no port")))
}

impl Options {
    pub fn read(words: &[&str]) -> io::Result<Self> {
        words
            .iter()
            .map(|word| {
                word.split_once('=')
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .ok_or_else(|| wrong(&format!("{word}: no key=value")))
            })
            .collect::<io::Result<_>>()
            .map(Self)
    }

    pub fn number<T: FromStr>(&self, key: &str, otherwise: T) -> io::Result<T> {
        match self.0.get(key) {
            None => Ok(otherwise),
            Some(text) => text
                .parse()
                .map_err(|_| wrong(&format!("{key}={text}: no number"))),
        }
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Bytes, written in hexadecimal.
    pub fn bytes(&self, key: &str) -> io::Result<Vec<u8>> {
        let text = self.text(key).unwrap_or_default();
        let digits: Option<Vec<u8>> = text
            .chars()
            .map(|digit| digit.to_digit(16).map(|value| value as u8))
            .collect();
        match digits {
            Some(digits) if digits.len().is_multiple_of(2) => Ok(digits
                .chunks(2)
                .map(|pair| pair[0] << 4 | pair[1])
                .collect()),
            _ => Err(wrong(&format!("{key}={text}: not hexadecimal"))),
        }
    }
}
