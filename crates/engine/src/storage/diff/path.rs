//! A path as a chain of names: millions of them share their directories' names.

use std::rc::Rc;

/// Longest path that is looked below, in bytes; the kernel opens none above 4 KiB.
pub const LOOKED_BELOW: usize = 16 << 10;

/// An absolute path in the merged tree.
#[derive(Debug, Clone)]
pub struct Path(Option<Rc<Part>>);

#[derive(Debug)]
struct Part {
    above: Path,
    name: Box<[u8]>,
    len: usize,
}

impl Path {
    /// `/`.
    pub const ROOT: Self = Self(None);

    /// An entry of this directory.
    pub fn join(&self, name: Box<[u8]>) -> Self {
        let len = self.len() + 1 + name.len();
        Self(Some(Rc::new(Part { above: self.clone(), name, len })))
    }

    fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |part| part.len)
    }

    /// Whether what is below it is left out.
    pub fn is_too_deep(&self) -> bool {
        self.len() > LOOKED_BELOW
    }

    /// The path's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut names = Vec::new();
        let mut here = self;
        while let Some(part) = &here.0 {
            names.push(&part.name);
            here = &part.above;
        }
        if names.is_empty() {
            return b"/".to_vec();
        }
        let mut bytes = Vec::with_capacity(self.len());
        for name in names.into_iter().rev() {
            bytes.push(b'/');
            bytes.extend_from_slice(name);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_its_names_in_order() {
        let etc = Path::ROOT.join(b"etc"[..].into());
        let deep = etc.join(b"x\ny"[..].into());
        let told = [Path::ROOT.bytes(), etc.bytes(), deep.bytes()];
        assert_eq!(told, [b"/".to_vec(), b"/etc".to_vec(), b"/etc/x\ny".to_vec()]);
    }
}
