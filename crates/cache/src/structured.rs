//! Structured fields (RFC 9651), as far as caches have some: dictionaries of directives and lists of strings.

use std::convert::Infallible;

use sfv::visitor::{
    DictionaryVisitor, EntryVisitor, Ignored, InnerListVisitor, ItemVisitor, ListVisitor,
    ParameterVisitor,
};
use sfv::{BareItemFromInput, KeyRef, Parser};

/// The value of a member, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Member<'a> {
    Integer(i64),
    Boolean(bool),
    String(&'a str),
    Token(&'a str),
    /// A list within begins; its items follow.
    List,
    /// An item of the list within, if it is a string.
    Item(Option<&'a str>),
    /// Another type.
    Else,
}

/// Calls `each` with the members of a dictionary as they come, of which the last one of a name counts; a list within has its items after it. False if it is none; what
/// `each` has seen must be forgotten then.
pub(crate) fn dictionary(line: &[u8], each: impl FnMut(&str, Member<'_>)) -> bool {
    Parser::new(line).parse_dictionary_with_visitor(Dictionary(each)).is_ok()
}

struct Dictionary<F>(F);

impl<'de, F: FnMut(&str, Member<'_>)> DictionaryVisitor<'de> for Dictionary<F> {
    type Out = ();
    type Error = Infallible;

    fn entry(&mut self, key: &'de KeyRef) -> Result<impl EntryVisitor<'de>, Self::Error> {
        Ok(Entry { key: key.as_str(), each: &mut self.0 })
    }

    fn finish(self) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// Calls `each` with the members of a list. False if it is none; what `each` has seen must be forgotten then.
pub(crate) fn list(line: &[u8], each: impl FnMut(Member<'_>)) -> bool {
    Parser::new(line).parse_list_with_visitor(List(each)).is_ok()
}

struct List<F>(F);

impl<'de, F: FnMut(Member<'_>)> ListVisitor<'de> for List<F> {
    type Out = ();
    type Error = Infallible;

    fn entry(&mut self) -> Result<impl EntryVisitor<'de>, Self::Error> {
        let each = &mut self.0;
        Ok(Entry { key: "", each: move |_: &str, member: Member<'_>| each(member) })
    }

    fn finish(self) -> Result<(), Self::Error> {
        Ok(())
    }
}

struct Entry<'de, F> {
    key: &'de str,
    each: F,
}

impl<'de, F: FnMut(&str, Member<'_>)> EntryVisitor<'de> for Entry<'de, F> {
    type Error = Infallible;

    fn item(self) -> Result<impl ItemVisitor<'de>, Self::Error> {
        Ok(self)
    }

    fn inner_list(mut self) -> Result<impl InnerListVisitor<'de>, Self::Error> {
        (self.each)(self.key, Member::List);
        Ok(InnerList(self))
    }
}

struct InnerList<'de, F>(Entry<'de, F>);

impl<'de, F: FnMut(&str, Member<'_>)> InnerListVisitor<'de> for InnerList<'de, F> {
    type Error = Infallible;

    fn item(&mut self) -> Result<impl ItemVisitor<'de>, Self::Error> {
        let Entry { key, each } = &mut self.0;
        Ok(|item: BareItemFromInput<'de>| -> Result<Ignored, Infallible> {
            let text = match &item {
                BareItemFromInput::String(text) => Some(text.as_str()),
                _ => None,
            };
            each(key, Member::Item(text));
            Ok(Ignored)
        })
    }

    fn finish(self) -> Result<impl ParameterVisitor<'de>, Self::Error> {
        Ok(Ignored)
    }
}

impl<'de, F: FnMut(&str, Member<'_>)> ItemVisitor<'de> for Entry<'de, F> {
    type Out = ();
    type Error = Infallible;

    fn bare_item(
        mut self,
        item: BareItemFromInput<'de>,
    ) -> Result<impl ParameterVisitor<'de, Out = ()>, Self::Error> {
        let member = match &item {
            BareItemFromInput::Integer(number) => Member::Integer((*number).into()),
            BareItemFromInput::Boolean(is_true) => Member::Boolean(*is_true),
            BareItemFromInput::String(text) => Member::String(text.as_str()),
            BareItemFromInput::Token(text) => Member::Token(text.as_str()),
            _ => Member::Else,
        };
        (self.each)(self.key, member);
        Ok(Ignored)
    }
}
