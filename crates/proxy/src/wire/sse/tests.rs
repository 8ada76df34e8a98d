use proptest::prelude::*;

use super::*;

/// Feeds `stream`, cut at `cuts`, and returns all frames.
fn split(stream: &[u8], cuts: &[usize]) -> Vec<Frame> {
    let mut splitter = EventSplitter::new();
    let mut frames = Vec::new();
    let mut positions: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
    positions.extend([0, stream.len()]);
    positions.sort_unstable();
    for range in positions.windows(2) {
        splitter.feed(Bytes::copy_from_slice(&stream[range[0]..range[1]]));
        while let Some(frame) = splitter.next_frame() {
            frames.push(frame);
        }
        assert!(splitter.held_bytes() <= EVENT_HELD_MAX);
    }
    frames.extend(splitter.finish());
    assert_eq!(splitter.finish(), None);
    frames
}

fn bytes_of(frame: &Frame) -> &[u8] {
    match frame {
        Frame::Event { bytes, .. } | Frame::Piece { bytes, .. } => bytes,
    }
}

fn joined(frames: &[Frame]) -> Vec<u8> {
    frames.iter().flat_map(bytes_of).copied().collect()
}

/// What a reader gets: the data of every event that has some.
fn payloads(frames: &[Frame]) -> Vec<Vec<u8>> {
    let has_data = |frame: &&Frame| {
        matches!(
            frame,
            Frame::Event {
                kind: Kind::Data | Kind::Done,
                ..
            }
        )
    };
    frames
        .iter()
        .filter(has_data)
        .map(|frame| data_payload(bytes_of(frame)).into_owned())
        .collect()
}

/// The specification, read literally: normalize the line ends of the whole text, then go line by line.
fn reference(stream: &[u8]) -> Vec<Vec<u8>> {
    let mut text = stream
        .strip_prefix(BYTE_ORDER_MARK)
        .unwrap_or(stream)
        .to_vec();
    let mut at = 0;
    while at < text.len() {
        if text[at] == b'\r' {
            if text.get(at + 1) == Some(&b'\n') {
                text.remove(at);
            } else {
                text[at] = b'\n';
            }
        }
        at += 1;
    }
    let mut events = Vec::new();
    let mut data: Option<Vec<u8>> = None;
    for line in text.split(|byte| *byte == b'\n') {
        if line.is_empty() {
            events.extend(data.take());
            continue;
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.unwrap_or(line.len()));
        if name == b"data" {
            let value = value.strip_prefix(b":").unwrap_or(value);
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match &mut data {
                Some(joined) => {
                    joined.push(b'\n');
                    joined.extend_from_slice(value);
                }
                None => data = Some(value.to_vec()),
            }
        }
    }
    events.extend(data);
    events
}

#[test]
fn an_event_in_one_chunk_is_a_slice_of_it() {
    let chunk = Bytes::from_static(b"data: {\"a\":1}\n\ndata: [DONE]\n\n");
    let mut splitter = EventSplitter::new();
    splitter.feed(chunk.clone());
    let Some(Frame::Event {
        kind: Kind::Data,
        bytes,
    }) = splitter.next_frame()
    else {
        panic!("no event")
    };
    assert_eq!(bytes.as_ptr(), chunk.as_ptr());
    assert_eq!(&*data_payload(&bytes), b"{\"a\":1}");
    assert!(matches!(
        splitter.next_frame(),
        Some(Frame::Event {
            kind: Kind::Done,
            ..
        })
    ));
    assert_eq!(splitter.next_frame(), None);
    assert_eq!(splitter.finish(), None);
}

#[test]
fn kinds() {
    for (event, kind) in [
        (": OPENROUTER PROCESSING\n\n", Kind::Comment),
        ("data:[DONE]\n\n", Kind::Done),
        ("data: [DONE] \r\n\r\n", Kind::Done),
        ("event: x\ndata: {}\n\n", Kind::Data),
        (": hello\rdata: {}\r\r", Kind::Data),
        ("data\n\n", Kind::Data),
        ("database: 1\n\n", Kind::Other),
        ("retry: 10\n\n", Kind::Other),
        ("\n", Kind::Other),
    ] {
        assert_eq!(kind_of(event.as_bytes()), kind, "{event:?}");
    }
}

#[test]
fn an_event_is_handed_on_as_soon_as_its_blank_line_is_there() {
    for end in ["\n\n", "\r\r", "\r\n\r"] {
        let mut splitter = EventSplitter::new();
        splitter.feed(Bytes::from(format!("data: 1{end}")));
        assert!(
            matches!(
                splitter.next_frame(),
                Some(Frame::Event {
                    kind: Kind::Data,
                    ..
                })
            ),
            "{end:?}"
        );
    }
}

#[test]
fn an_event_that_is_too_large_comes_in_pieces() {
    let mut stream = b"data: 1\n\ndata: \"".to_vec();
    stream.extend(vec![b'x'; 3 * EVENT_HELD_MAX]);
    stream.extend(b"\"\n\ndata: [DONE]\n\n");
    let cuts: Vec<usize> = (0..stream.len()).step_by(65_536).collect();
    let frames = split(&stream, &cuts);
    assert_eq!(joined(&frames), stream);
    let positions: Vec<Position> = frames
        .iter()
        .filter_map(|frame| match frame {
            Frame::Piece { position, .. } => Some(*position),
            Frame::Event { .. } => None,
        })
        .collect();
    assert_eq!(positions.first(), Some(&Position::Start));
    assert_eq!(positions.last(), Some(&Position::End));
    assert!(
        positions[1..positions.len() - 1]
            .iter()
            .all(|position| *position == Position::Middle)
    );
    assert_eq!(payloads(&frames), [b"1".to_vec(), b"[DONE]".to_vec()]);
}

#[test]
fn the_end_of_the_stream_ends_an_event_in_pieces() {
    let stream = [b"data: ".to_vec(), vec![b'x'; EVENT_HELD_MAX]].concat();
    let frames = split(&stream, &[]);
    assert!(matches!(
        frames.last(),
        Some(Frame::Piece {
            position: Position::End,
            ..
        })
    ));
    assert_eq!(joined(&frames), stream);
}

#[test]
fn an_event_that_carries_pretty_json_is_one_line() {
    let event = data_event("{\n \"a\": 1\r\n}");
    assert_eq!(&*data_payload(&event), b"{  \"a\": 1  }");
    assert_eq!(kind_of(&event), Kind::Data);
}

/// Streams made of the fragments where mistakes happen.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let fragment = prop_oneof![
        Just("data: ".as_bytes().to_vec()),
        Just(b"data:".to_vec()),
        Just(b"data".to_vec()),
        Just(b"{\"a\":\"\xe2\x80\xa8\"}".to_vec()),
        Just(b"[DONE]".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\r".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\n\n".to_vec()),
        Just(b": OPENROUTER PROCESSING\n\n".to_vec()),
        Just(b"event: x\r\n".to_vec()),
        Just(b"\x0b\x0c".to_vec()),
        Just(BYTE_ORDER_MARK.to_vec()),
        proptest::collection::vec(any::<u8>(), 0..4),
    ];
    proptest::collection::vec(fragment, 0..30).prop_map(|fragments| fragments.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_cut_gives_what_the_specification_says(
        stream in stream(),
        cuts in proptest::collection::vec(any::<usize>(), 0..20),
    ) {
        let frames = split(&stream, &cuts);
        prop_assert_eq!(payloads(&frames), reference(&stream));
        let without_mark = stream.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&stream);
        prop_assert_eq!(joined(&frames), without_mark);
    }

    #[test]
    fn every_single_cut_gives_the_same(stream in stream()) {
        let expected = reference(&stream);
        for cut in 0..=stream.len() {
            prop_assert_eq!(payloads(&split(&stream, &[cut])), expected.clone());
        }
    }
}
