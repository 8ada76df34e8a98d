//! How large a prompt is: its text, and the images, sound, videos and files in it, which cost by other measures than
//! their bytes.

use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::fields::RequestError;
use super::json::{self, Object, Text};

/// The most media that one prompt may hold in itself.
pub const INLINE_MEDIA_MAX: usize = 1000;

/// What a medium is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// `image_url`
    Image,
    /// `input_audio`
    Audio,
    /// `video_url`
    Video,
    /// `file`
    File,
}

/// A medium that lies in the body, as base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InlineMedia {
    /// What it is.
    pub kind: MediaKind,
    /// Its size, decoded, in bytes.
    pub bytes: u64,
}

/// Media that the upstream fetches, by kind; their sizes are unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkedMedia {
    /// Images.
    pub images: u32,
    /// Sound.
    pub audio: u32,
    /// Videos.
    pub videos: u32,
    /// Files.
    pub files: u32,
}

/// The size of a prompt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PromptShape {
    /// Messages.
    pub messages: u32,
    /// All bytes of the request body (tools and schemas too) but those of inline media.
    pub text_bytes: u64,
    /// At most [`INLINE_MEDIA_MAX`].
    pub inline_media: Vec<InlineMedia>,
    /// Media that are only named.
    pub linked_media: LinkedMedia,
}

#[derive(Deserialize)]
struct Role<'a> {
    #[serde(borrow, rename = "role")]
    _role: Text<'a>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    /// Images of an assistant's earlier answer.
    #[serde(borrow, default)]
    images: Option<&'a RawValue>,
}

/// A part of a message's content. What isn't media is text.
#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow, default)]
    image_url: Option<&'a RawValue>,
    #[serde(borrow, default)]
    video_url: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input_audio: Option<&'a RawValue>,
    #[serde(borrow, default)]
    file: Option<&'a RawValue>,
}

/// Measures a prompt from the text of `messages`, in a body of `body_bytes`.
pub(crate) fn measure(messages: &str, body_bytes: u64) -> Result<PromptShape, RequestError> {
    let expected = "a non-empty array of messages";
    let counted = json::each_element(messages, |_: Object<Role<'_>>| {});
    let count = counted.map_err(|error| match error {
        json::JsonError::Element(index) => RequestError::invalid(
            format!("messages[{index}]"),
            "an object with a string `role`",
        ),
        _ => RequestError::invalid("messages", expected),
    })?;
    if count == 0 {
        return Err(RequestError::invalid("messages", expected));
    }
    let mut shape = PromptShape {
        messages: count,
        text_bytes: body_bytes,
        ..PromptShape::default()
    };
    if may_hold_media(messages) {
        shape.survey(messages)?;
    }
    Ok(shape)
}

/// Whether any medium can be in the messages. A name can also be written with escapes, of which all that stand for
/// letters begin alike.
fn may_hold_media(messages: &str) -> bool {
    let marks = ["_url", "input_audio", "\"file\"", "\\u00"];
    marks
        .iter()
        .any(|mark| memmem::find(messages.as_bytes(), mark.as_bytes()).is_some())
}

impl PromptShape {
    fn survey(&mut self, messages: &str) -> Result<(), RequestError> {
        let mut outcome = Ok(());
        let seen = json::each_element(messages, |Object(message): Object<Message<'_>>| {
            for parts in [message.content, message.images].into_iter().flatten() {
                if outcome.is_ok() {
                    outcome = self.survey_parts(parts.get());
                }
            }
        });
        outcome?;
        seen.map(|_| ()).map_err(|_| {
            RequestError::invalid("messages", "an array of messages without duplicate fields")
        })
    }

    fn survey_parts(&mut self, parts: &str) -> Result<(), RequestError> {
        if !parts.starts_with('[') {
            return Ok(());
        }
        let seen = json::each_element(parts, |Object(part): Object<Part<'_>>| {
            let media = [
                (MediaKind::Image, part.image_url, &["url"][..]),
                (MediaKind::Video, part.video_url, &["url"][..]),
                (MediaKind::Audio, part.input_audio, &["data", "url"][..]),
                (
                    MediaKind::File,
                    part.file,
                    &["file_data", "file_id", "url"][..],
                ),
            ];
            for (kind, value, names) in media {
                if let Some(value) = value {
                    self.add(kind, medium_source(value.get(), names));
                }
            }
        });
        seen.map_err(|_| {
            RequestError::invalid("messages", "an array whose content parts are objects")
        })?;
        if self.inline_media.len() > INLINE_MEDIA_MAX {
            return Err(RequestError::invalid(
                "messages",
                "an array with at most 1000 images, sounds, videos and files",
            ));
        }
        Ok(())
    }

    fn add(&mut self, kind: MediaKind, source: Source) {
        match source {
            Source::Inline {
                body_bytes,
                base64_bytes,
            } => {
                self.text_bytes = self.text_bytes.saturating_sub(body_bytes);
                if self.inline_media.len() <= INLINE_MEDIA_MAX {
                    self.inline_media.push(InlineMedia {
                        kind,
                        bytes: base64_bytes / 4 * 3,
                    });
                }
            }
            Source::Linked => {
                let count = match kind {
                    MediaKind::Image => &mut self.linked_media.images,
                    MediaKind::Audio => &mut self.linked_media.audio,
                    MediaKind::Video => &mut self.linked_media.videos,
                    MediaKind::File => &mut self.linked_media.files,
                };
                *count = count.saturating_add(1);
            }
        }
    }
}

enum Source {
    /// In the body, where it takes `body_bytes` as written, of a base64 text of `base64_bytes`.
    Inline {
        body_bytes: u64,
        base64_bytes: u64,
    },
    Linked,
}

impl Source {
    fn inline(body_bytes: usize, base64_bytes: usize) -> Self {
        Self::Inline {
            body_bytes: body_bytes as u64,
            base64_bytes: base64_bytes as u64,
        }
    }
}

/// Where a medium's bytes are: in the string that `value` is, or in the first string member of it named in `names`.
/// What can't be found counts as linked, since something is there that the upstream may understand.
fn medium_source(value: &str, names: &[&str]) -> Source {
    let members = json::members(value).unwrap_or_default();
    let in_member = names
        .iter()
        .find_map(|name| json::last(&members, name).map(|literal| (*name, literal)));
    let (name, literal) = in_member.unwrap_or(("url", value));
    let Some(text) = json::string(literal) else {
        return Source::Linked;
    };
    let written = literal.trim_matches('"');
    if let Some(payload) = data_url_payload(&text) {
        let body_bytes = written
            .split_once(',')
            .map_or(0, |(_, payload)| payload.len());
        return Source::inline(body_bytes, payload.len());
    }
    if name == "data" || (name == "file_data" && !text.contains("://")) {
        return Source::inline(written.len(), text.len());
    }
    Source::Linked
}

/// The base64 text of a data URL (RFC 2397).
fn data_url_payload(url: &str) -> Option<&str> {
    let is_data_url = url.get(..5)?.eq_ignore_ascii_case("data:");
    let (head, payload) = url.split_once(',')?;
    (is_data_url && head.ends_with(";base64")).then_some(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(messages: &str) -> Result<PromptShape, RequestError> {
        measure(messages, messages.len() as u64)
    }

    #[test]
    fn text_is_all_bytes() {
        let messages = r#"[{"role":"user","content":"data:image/png;base64,AAAA"},{"role":"user","content":[{"type":"text","text":"https://x/image_url"}]}]"#;
        let expected = PromptShape {
            messages: 2,
            text_bytes: messages.len() as u64,
            ..PromptShape::default()
        };
        assert_eq!(shape(messages), Ok(expected));
    }

    #[test]
    fn media_are_measured_and_not_counted_as_text() {
        let base64 = "A".repeat(4000);
        let part = |name: &str, value: String| format!(r#"{{"type":"{name}","{name}":{value}}}"#);
        let url = |head: &str| format!(r#"{{"url":"{head},{base64}","detail":"low"}}"#);
        let parts = [
            part("image_url", url("data:image/png;base64")),
            part("image_url", url(r"data:image\/png;base64")),
            part(
                "image_\\u0075rl".replace("\\\\", "\\").as_str(),
                url("DATA:image/png;base64"),
            ),
            part("image_url", format!("\"data:image/png;base64,{base64}\"")),
            part("video_url", url("data:video/mp4;base64")),
            part(
                "input_audio",
                format!(r#"{{"data":"{base64}","format":"wav"}}"#),
            ),
            part(
                "file",
                format!(
                    r#"{{"filename":"a.pdf","file_data":"data:application/pdf;base64,{base64}"}}"#
                ),
            ),
            part(
                "image_url",
                r#"{"url":"https://example.org/a.png"}"#.to_owned(),
            ),
            part(
                "file",
                r#"{"file_data":"https://example.org/a.pdf"}"#.to_owned(),
            ),
            part("video_url", "7".to_owned()),
        ];
        let messages = format!(r#"[{{"role":"user","content":[{}]}}]"#, parts.join(","));
        let shape = shape(&messages).unwrap();
        let kinds: Vec<MediaKind> = shape.inline_media.iter().map(|media| media.kind).collect();
        use MediaKind::{Audio, File, Image, Video};
        assert_eq!(kinds, [Image, Image, Image, Image, Video, Audio, File]);
        assert!(shape.inline_media.iter().all(|media| media.bytes == 3000));
        assert_eq!(shape.text_bytes, messages.len() as u64 - 7 * 4000);
        assert_eq!(
            shape.linked_media,
            LinkedMedia {
                images: 1,
                audio: 0,
                videos: 1,
                files: 1
            }
        );
    }

    #[test]
    fn escapes_in_base64_are_no_text() {
        let messages = |base64: &str| {
            format!(
                r#"[{{"role":"user","content":[{{"image_url":"data:image/png;base64,{base64}"}}]}}]"#
            )
        };
        let plain = shape(&messages(&"/".repeat(400))).unwrap();
        let escaped = shape(&messages(&r"\/".repeat(400))).unwrap();
        assert_eq!(plain, escaped);
        assert_eq!(
            plain.inline_media,
            [InlineMedia {
                kind: MediaKind::Image,
                bytes: 300
            }]
        );
    }

    #[test]
    fn bad_messages_are_named() {
        for (messages, param) in [
            ("[]", "messages"),
            ("{}", "messages"),
            ("\"hi\"", "messages"),
            (r#"[{"role":"user"},"hi"]"#, "messages[1]"),
            (r#"[["user"]]"#, "messages[0]"),
            (r#"[{"role":1}]"#, "messages[0]"),
            (r#"[{"content":"hi"}]"#, "messages[0]"),
            (r#"[{"role":"user","content":["image_url"]}]"#, "messages"),
            (
                r#"[{"role":"user","content":[],"content":"image_url"}]"#,
                "messages",
            ),
        ] {
            assert_eq!(
                shape(messages).unwrap_err().param(),
                Some(param),
                "{messages}"
            );
        }
    }

    #[test]
    fn media_are_bounded() {
        let part = r#"{"image_url":"data:image/png;base64,AAAA"}"#;
        let messages = |count: usize| {
            format!(
                r#"[{{"role":"user","content":[{}]}}]"#,
                vec![part; count].join(",")
            )
        };
        assert_eq!(
            shape(&messages(INLINE_MEDIA_MAX))
                .unwrap()
                .inline_media
                .len(),
            INLINE_MEDIA_MAX
        );
        assert!(shape(&messages(INLINE_MEDIA_MAX + 1)).is_err());
    }
}
