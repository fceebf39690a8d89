use std::io::Read;

use proptest::prelude::*;

use super::manifest::{About, Base, ImageRef, Manifest, Role, Section, TEMPLATE_LAYOUT};
use super::{CHUNK, Reader, Writer};

fn manifest() -> Manifest {
    let uuid = |n: u8| super::hex(&[n; 16]);
    Manifest {
        tool: "cowl 0".into(),
        created_at: "2026-11-23T00:00:00Z".into(),
        template_layout: TEMPLATE_LAYOUT,
        container: About { name: "web".into(), tier: "debian-13".into(), ..Default::default() },
        image: ImageRef { id: "debian-13-20261123-1a2b3c4d".into(), uuid: uuid(1), created_at: 5 },
        base: None,
        sections: vec![
            Section { role: Role::Image, uuid: uuid(1), name: None },
            Section { role: Role::Disk, uuid: uuid(2), name: None },
        ],
    }
}

/// An archive with two sections of these contents.
fn archive(one: &[u8], two: &[u8]) -> Vec<u8> {
    let mut writer = Writer::begin(Vec::new(), &manifest(), 3).unwrap();
    writer.section(&mut &one[..], 3).unwrap();
    writer.section(&mut &two[..], 3).unwrap();
    writer.end().unwrap()
}

/// Reads everything; the sections' contents, or that it is refused.
fn read(bytes: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let mut reader = Reader::new(bytes).map_err(|e| e.to_string())?;
    let mut found = Vec::new();
    while let Some(manifest) = reader.manifest().map_err(|e| e.to_string())? {
        for _ in &manifest.sections {
            let mut content = Vec::new();
            reader.section().read_to_end(&mut content).map_err(|e| e.to_string())?;
            found.push(content);
        }
        reader.end().map_err(|e| e.to_string())?;
    }
    Ok(found)
}

#[test]
fn what_was_written_is_read_also_several_in_a_row() {
    let random: Vec<u8> = (0..CHUNK * 2 + 17).map(|_| rand::random()).collect();
    let zeroes = vec![0; CHUNK * 5];
    let whole = archive(&random, &zeroes);
    assert!(whole.len() < random.len() + CHUNK);
    assert_eq!(read(&whole).unwrap(), [random.clone(), zeroes.clone()]);
    let chain = [whole.clone(), archive(b"", b"x")].concat();
    assert_eq!(read(&chain).unwrap(), [random, zeroes, vec![], b"x".to_vec()]);
    assert!(read(b"").is_err() && read(&[whole, b"x".to_vec()].concat()).is_err());
}

#[test]
fn a_manifest_that_makes_no_sense_is_refused() {
    let uuid = super::hex(&[3; 16]);
    let refused = |change: fn(&mut Manifest, String)| {
        let mut m = manifest();
        change(&mut m, uuid.clone());
        assert!(Manifest::parse(&serde_json::to_vec(&m).unwrap()).is_err(), "{m:?}");
    };
    assert!(Manifest::parse(&serde_json::to_vec(&manifest()).unwrap()).is_ok());
    refused(|m, _| m.template_layout = 99);
    refused(|m, _| m.sections.clear());
    refused(|m, _| m.sections.reverse());
    refused(|m, _| drop(m.sections.pop()));
    refused(|m, _| m.image.id = "../x-20261123-1a2b3c4d".into());
    refused(|m, _| m.image.uuid = "0".repeat(32));
    refused(|m, uuid| m.base = Some(Base { name: "one".into(), uuid }));
    refused(|m, uuid| m.sections.insert(1, Section { role: Role::Snapshot, uuid, name: Some("../x".into()) }));
    refused(|m, uuid| m.sections.insert(1, Section { role: Role::Snapshot, uuid, name: None }));
    refused(|m, uuid| m.sections.insert(0, Section { role: Role::Disk, uuid, name: None }));
    refused(|m, uuid| m.sections = vec![Section { role: Role::Image, uuid, name: None }; 5_000]);
}

proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn whatever_is_cut_off_or_changed_is_noticed(cut in any::<prop::sample::Index>(), bit in 0u8..8) {
        let whole = archive(&[7; 3000], &(0..4000u32).map(|n| n as u8).collect::<Vec<_>>());
        let at = cut.index(whole.len());
        prop_assert!(read(&whole[..at]).is_err(), "cut at {}", at);
        let mut changed = whole;
        changed[at] ^= 1 << bit;
        prop_assert!(read(&changed).is_err(), "changed at {}", at);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, headed: bool, kind in 0u8..255, codec in 0u8..3, a: u32, b: u32) {
        let mut all = Vec::new();
        if headed {
            all.extend(super::MAGIC);
            all.extend(1u32.to_le_bytes());
            all.extend([kind, codec, 0, 0]);
            all.extend(a.to_le_bytes());
            all.extend(b.to_le_bytes());
        }
        all.extend(&bytes);
        prop_assert!(read(&all).is_err());
        let _ = Manifest::parse(&bytes);
        let rules = super::stream::Rules { name: "x", parent: Some([1; 16]), uuid: None };
        let mut stream = b"btrfs-stream\0\x01\0\0\0".to_vec();
        stream.extend(&bytes);
        prop_assert!(super::stream::pass(&mut stream.as_slice(), &mut Vec::new(), rules).is_err());
    }
}
