use proptest::prelude::*;

use super::*;

/// Name, and value where it is known.
type Seen = (Name, Option<Vec<u8>>);

fn read(decoder: &mut Decoder, block: &[u8]) -> (Vec<Seen>, Result<(), Broken>) {
    let mut seen = Vec::new();
    let result = decoder.decode(block, &mut |name, value| seen.push((name, value.map(<[u8]>::to_vec))));
    (seen, result)
}

fn is(name: &'static str, value: &str) -> Seen {
    (Name::Known(name), Some(value.as_bytes().to_vec()))
}

const UNKNOWN: Seen = (Name::Unknown, None);

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

/// RFC 7541, appendix C.4: requests with Huffman coding.
const REQUESTS: [&str; 3] = [
    "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
    "8286 84be 5886 a8eb 1064 9cbf",
    "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
];

#[test]
fn the_examples_of_the_standard() {
    let mut decoder = Decoder::default();
    let get = |scheme, path| vec![is(":method", "GET"), is(":scheme", scheme), is(":path", path)];
    let host = is(":authority", "www.example.com");
    let other: Seen = (Name::Other, None);
    let expected = [
        [get("http", "/"), vec![host.clone()]].concat(),
        [get("http", "/"), vec![host.clone(), other.clone()]].concat(),
        [get("https", "/index.html"), vec![host, other]].concat(),
    ];
    for (request, expected) in REQUESTS.iter().zip(expected) {
        assert_eq!(read(&mut decoder, &bytes(request)), (expected, Ok(())));
    }
    assert_eq!((decoder.size, decoder.entries.len()), (164, 3));
}

/// RFC 7541, appendix C.6: responses that evict from a table of 256 bytes.
#[test]
fn evictions_as_in_the_standard() {
    let mut decoder = Decoder { max_size: 256, ..Decoder::default() };
    for (block, status, size) in [
        (
            "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e \
             919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
            "302",
            222,
        ),
        ("4883 640e ffc1 c0bf", "307", 222),
        (
            "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 \
             821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed \
             4ee5 b106 3d50 07",
            "200",
            215,
        ),
    ] {
        let (seen, result) = read(&mut decoder, &bytes(block));
        assert_eq!((&seen[0], result, decoder.size), (&is(":status", status), Ok(()), size));
    }
}

#[test]
fn out_of_step_only_what_is_certain_is_told() {
    let mut decoder = Decoder::default();
    assert_eq!(read(&mut decoder, &bytes(REQUESTS[0])).1, Ok(()));
    decoder.lose_step();
    // The authority (0xbe) is the newest entry, but that was before; a static one is one for ever.
    let (seen, result) = read(&mut decoder, &bytes(REQUESTS[1]));
    assert_eq!((&seen[0], &seen[3], result), (&is(":method", "GET"), &UNKNOWN, Ok(())));
    // An unknown name with a new value; then what was inserted after the loss, by its number.
    let (seen, result) = read(&mut decoder, b"\x7f\x01\x01v\x44\x02/a\xbe\xbf\xc0\xc1");
    let path = is(":path", "/a");
    let expected = vec![UNKNOWN, path.clone(), path, UNKNOWN, (Name::Other, None), UNKNOWN];
    assert_eq!((seen, result), (expected, Ok(())));
    // Emptied by the other side, it is known again: what is not in it is an error.
    assert_eq!(read(&mut decoder, b"\x20\x3f\xe1\x1f\x44\x02/b\xbe").0, vec![is(":path", "/b"); 2]);
    assert_eq!(read(&mut decoder, b"\xbf"), (vec![], Err(Broken)));
}

#[test]
fn a_broken_block_leaves_what_came_before_it() {
    for block in [&b"\x82\x80"[..], b"\x82\xbe", b"\x82\x44\x05/a", b"\x82\x3f", b"\x82\x44\x82\xff\xff"] {
        let mut decoder = Decoder::default();
        assert_eq!(read(&mut decoder, block), (vec![is(":method", "GET")], Err(Broken)), "{block:?}");
        assert!(!decoder.complete);
    }
}

#[test]
fn bounds() {
    let mut decoder = Decoder::default();
    // The largest size that can be written down.
    assert_eq!(read(&mut decoder, b"\x3f\xff\xff\xff\x7f").1, Ok(()));
    for _ in 0..10_000 {
        let block = [&b"\x40\x01n\x64"[..], &[b'v'; 100]].concat();
        assert_eq!(read(&mut decoder, &block).1, Ok(()));
    }
    assert!(decoder.size <= MAX_TABLE && !decoder.complete);
    assert!(decoder.entries.len() <= MAX_TABLE / OVERHEAD);
    // Credentials pass through, and are not kept.
    let mut decoder = Decoder::default();
    assert_eq!(read(&mut decoder, b"\x57\x07hunter2\x40\x06cookie\x07hunter2").1, Ok(()));
    let kept = |entry: &Entry| entry.value.as_deref().unwrap_or_default().len();
    assert!(decoder.entries.iter().all(|entry| kept(entry) == 0 && entry.size() > 32));
}

/// Values of fields that are kept, by name.
fn kept(fields: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<Seen> {
    let seen = |(name, value): (Vec<u8>, Vec<u8>)| match known(&name) {
        Name::Known("authorization") => {
            (Name::Known("authorization"), Some(beginning_of_credential(&value).to_vec()))
        }
        Name::Known(name) => (Name::Known(name), Some(value)),
        name => (name, None),
    };
    fields.into_iter().map(seen).collect()
}

#[test]
fn of_a_credential_only_its_kind_is_in_the_table() {
    let mut encoder = loona_hpack::Encoder::new();
    let mut decoder = Decoder::default();
    for _ in 0..2 {
        let block = encoder.encode([(&b"authorization"[..], &b"Bearer sk-ant-oat01-hunter2"[..])]);
        let (seen, _) = read(&mut decoder, &block);
        assert_eq!(seen, [is("authorization", "sk-ant-oat")]);
    }
    let kept = |entry: &Entry| entry.value.as_deref().map(<[u8]>::to_vec);
    assert!(decoder.entries.iter().filter_map(kept).all(|value| value == b"sk-ant-oat"));
}

proptest! {
    /// Any bytes are read as another implementation reads them, for as long as that one finds them
    /// right; and never panic.
    #[test]
    fn random_bytes_are_read_as_by_others(
        blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..6),
    ) {
        let mut decoder = Decoder::default();
        let mut other = loona_hpack::Decoder::new();
        for block in blocks {
            let theirs = other.decode(&block);
            let (seen, result) = read(&mut decoder, &block);
            let Ok(fields) = theirs else { break };
            prop_assert_eq!(result, Ok(()));
            let seen: Vec<_> = seen.into_iter().map(|(n, v)| (n, v.filter(|_| n != Name::Other))).collect();
            prop_assert_eq!(seen, kept(fields));
        }
    }

    /// What another implementation encodes comes out, and from any point on nothing wrong does.
    #[test]
    fn encoded_lists_come_out(
        lists in prop::collection::vec(
            prop::collection::vec((0usize..12, "[a-z0-9/]{0,40}"), 1..12), 1..20),
        joined in 0usize..20,
    ) {
        const SENT: [&str; 12] = [":path", ":authority", ":method", ":status", "content-type", "cookie",
            "authorization", "x-a", "x-b", "request-id", "content-encoding", "date"];
        let mut encoder = loona_hpack::Encoder::new();
        let (mut whole, mut late) = (Decoder::default(), Decoder::default());
        late.lose_step();
        for (number, list) in lists.into_iter().enumerate() {
            let sent = |(name, value): (usize, String)| (SENT[name].as_bytes().to_vec(), value.into_bytes());
            let list: Vec<_> = list.into_iter().map(sent).collect();
            let block = encoder.encode(list.iter().map(|(n, v)| (&n[..], &v[..])));
            let expected = kept(list);
            let without = |seen: Vec<Seen>| -> Vec<Seen> {
                seen.into_iter().map(|(n, v)| (n, v.filter(|_| n != Name::Other))).collect()
            };
            let (seen, result) = read(&mut whole, &block);
            prop_assert_eq!((without(seen), result), (expected.clone(), Ok(())));
            if number >= joined {
                let (seen, result) = read(&mut late, &block);
                prop_assert_eq!(result, Ok(()));
                prop_assert_eq!(seen.len(), expected.len());
                for (seen, expected) in without(seen).into_iter().zip(expected) {
                    prop_assert!(seen.0 == Name::Unknown || seen == expected);
                }
            }
        }
    }

    #[test]
    fn huffman_is_read_as_by_others(coded in prop::collection::vec(any::<u8>(), 0..100)) {
        let mut block = vec![0x44, 0x80 | coded.len() as u8];
        block.extend(coded);
        let (seen, result) = read(&mut Decoder::default(), &block);
        // Padding that is not all ones passes here: what it follows is right all the same.
        if let Ok(theirs) = loona_hpack::Decoder::new().decode(&block) {
            prop_assert_eq!((seen, result), (kept(theirs), Ok(())));
        }
    }
}
