//! A text as tokens, and the words for the place where it stops making sense.

use std::any::TypeId;

use sqlparser::ast::{Query, SelectItem};
use sqlparser::dialect::{DatabricksDialect, Dialect};
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

use super::{Name, Refused};
use crate::statement::Failure;

/// Databricks' dialect, and its strings with `\'`, which the parser's own lacks.
#[derive(Debug, Default)]
struct Databricks(DatabricksDialect);

impl Dialect for Databricks {
    fn dialect(&self) -> TypeId {
        self.0.dialect()
    }

    fn is_delimited_identifier_start(&self, c: char) -> bool {
        self.0.is_delimited_identifier_start(c)
    }

    fn is_identifier_start(&self, c: char) -> bool {
        self.0.is_identifier_start(c)
    }

    fn is_identifier_part(&self, c: char) -> bool {
        self.0.is_identifier_part(c)
    }

    fn supports_string_literal_backslash_escape(&self) -> bool {
        true
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_group_by_expr(&self) -> bool {
        true
    }

    fn supports_select_wildcard_except(&self) -> bool {
        true
    }

    fn supports_struct_literal(&self) -> bool {
        true
    }

    fn supports_nested_comments(&self) -> bool {
        true
    }
}

/// The tokens of one statement, read from left to right.
pub(super) struct Cursor<'a> {
    text: &'a str,
    tokens: Vec<TokenWithSpan>,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Result<Self, Refused> {
        let tokens = Tokenizer::new(&Databricks::default(), text).tokenize_with_location();
        let mut tokens = tokens.map_err(|error| syntax(text, &error.message, error.location))?;
        tokens.retain(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF));
        Ok(Self { text, tokens, at: 0 })
    }

    pub(super) fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|token| &token.token)
    }

    pub(super) fn next(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.at += usize::from(token.is_some());
        token
    }

    /// The unquoted word that stands here, in upper case.
    pub(super) fn word(&self) -> Option<String> {
        self.word_at(0)
    }

    fn word_at(&self, ahead: usize) -> Option<String> {
        match self.tokens.get(self.at + ahead).map(|token| &token.token) {
            Some(Token::Word(word)) if word.quote_style.is_none() => Some(word.value.to_uppercase()),
            _ => None,
        }
    }

    /// Steps over these words if they stand here.
    pub(super) fn take(&mut self, words: &str) -> bool {
        let wanted: Vec<&str> = words.split(' ').collect();
        let here = wanted.iter().enumerate().all(|(ahead, word)| self.word_at(ahead).as_deref() == Some(*word));
        self.at += if here { wanted.len() } else { 0 };
        here
    }

    pub(super) fn expect(&mut self, words: &str) -> Result<(), Refused> {
        words.split(' ').try_for_each(|word| if self.take(word) { Ok(()) } else { Err(self.stuck()) })
    }

    pub(super) fn take_token(&mut self, token: &Token) -> bool {
        let here = self.peek() == Some(token);
        self.at += usize::from(here);
        here
    }

    pub(super) fn expect_token(&mut self, token: &Token) -> Result<(), Refused> {
        if self.take_token(token) { Ok(()) } else { Err(self.stuck()) }
    }

    /// `a` or `` `a` ``
    pub(super) fn identifier(&mut self) -> Result<String, Refused> {
        match self.peek() {
            Some(Token::Word(word)) if matches!(word.quote_style, None | Some('`')) => {
                let value = word.value.clone();
                self.at += 1;
                Ok(value)
            }
            _ => Err(self.stuck()),
        }
    }

    /// `` `c`.`s`.`t` ``
    pub(super) fn name(&mut self) -> Result<Name, Refused> {
        let mut parts = vec![self.identifier()?];
        while self.take_token(&Token::Period) {
            parts.push(self.identifier()?);
        }
        if parts.len() > 3 {
            return Err(Failure::class(
                "REQUIRES_SINGLE_PART_NAMESPACE",
                "42K05",
                format!("`{}` has more than three parts.", parts.join("`.`")),
            )
            .into());
        }
        Ok(Name(parts))
    }

    pub(super) fn string(&mut self) -> Result<String, Refused> {
        match self.peek() {
            Some(Token::SingleQuotedString(text) | Token::DoubleQuotedString(text)) => {
                let text = text.clone();
                self.at += 1;
                Ok(text)
            }
            _ => Err(self.stuck()),
        }
    }

    pub(super) fn number(&mut self) -> Result<usize, Refused> {
        let read = match self.peek() {
            Some(Token::Number(digits, false)) => digits.parse().ok(),
            _ => None,
        };
        self.at += usize::from(read.is_some());
        read.ok_or_else(|| self.stuck())
    }

    /// `(` one `,` another `)`
    pub(super) fn list<T>(&mut self, mut one: impl FnMut(&mut Self) -> Result<T, Refused>) -> Result<Vec<T>, Refused> {
        self.expect_token(&Token::LParen)?;
        let mut all = vec![one(self)?];
        while self.take_token(&Token::Comma) {
            all.push(one(self)?);
        }
        self.expect_token(&Token::RParen)?;
        Ok(all)
    }

    /// The query that is the rest of the statement, and its text.
    pub(super) fn query(&mut self) -> Result<(Query, String), Refused> {
        let rest = self.tokens.split_off(self.at);
        let begin = rest.first().map_or(self.text.len(), |token| self.offset(token.span.start));
        let text = self.text[begin..].trim_end().trim_end_matches(';').trim_end().to_owned();
        let mut end = rest.len();
        while end > 0 && rest[end - 1].token == Token::SemiColon {
            end -= 1;
        }
        let dialect = Databricks::default();
        let mut parser = Parser::new(&dialect).with_tokens_with_locations(rest[..end].to_vec());
        let parsed = parser.parse_query();
        let stopped = parser.peek_token();
        match parsed {
            Ok(query) if stopped.token == Token::EOF => Ok((*query, text)),
            _ => Err(syntax(self.text, &near(Some(&stopped.token)), stopped.span.start)),
        }
    }

    /// What a SELECT selects.
    pub(super) fn select_items(&mut self) -> Result<Vec<SelectItem>, Refused> {
        let dialect = Databricks::default();
        let mut parser = Parser::new(&dialect).with_tokens_with_locations(self.tokens[self.at..].to_vec());
        match parser.parse_comma_separated(Parser::parse_select_item) {
            Ok(items) => {
                self.at += parser.index();
                Ok(items)
            }
            Err(_) => {
                let stopped = parser.peek_token();
                Err(syntax(self.text, &near(Some(&stopped.token)), stopped.span.start))
            }
        }
    }

    /// Nothing may follow but semicolons.
    pub(super) fn end(&mut self) -> Result<(), Refused> {
        while self.take_token(&Token::SemiColon) {}
        if self.peek().is_none() { Ok(()) } else { Err(self.stuck()) }
    }

    /// What stands here makes no sense.
    pub(super) fn stuck(&self) -> Refused {
        let here = self.tokens.get(self.at);
        let location = here.map_or_else(|| self.end_location(), |token| token.span.start);
        syntax(self.text, &near(here.map(|token| &token.token)), location)
    }

    fn end_location(&self) -> Location {
        self.tokens.last().map_or(Location { line: 1, column: 1 }, |token| token.span.end)
    }

    fn offset(&self, location: Location) -> usize {
        let line = usize::try_from(location.line).unwrap_or(1).saturating_sub(1);
        let begin: usize = self.text.split_inclusive('\n').take(line).map(str::len).sum();
        let column = usize::try_from(location.column).unwrap_or(1).saturating_sub(1);
        begin + self.text[begin..].chars().take(column).map(char::len_utf8).sum::<usize>()
    }
}

fn near(token: Option<&Token>) -> String {
    match token {
        None | Some(Token::EOF) => "Syntax error at or near end of input.".to_owned(),
        Some(Token::Word(word)) if word.keyword == Keyword::NoKeyword => {
            format!("Syntax error at or near '{}'.", word.value)
        }
        Some(token) => format!("Syntax error at or near '{token}'."),
    }
}

fn syntax(text: &str, what: &str, at: Location) -> Refused {
    let (line, position) = (at.line.max(1), at.column.saturating_sub(1));
    let shown = text.lines().nth(usize::try_from(line - 1).unwrap_or(0)).unwrap_or_default();
    let dashes = "-".repeat(usize::try_from(position).unwrap_or(0));
    Refused::Failed(Failure {
        error_code: "BAD_REQUEST".to_owned(),
        message: format!(
            "\n[PARSE_SYNTAX_ERROR] {what} SQLSTATE: 42601 (line {line}, pos {position})\n\n== SQL \
             ==\n{shown}\n{dashes}^^^\n"
        ),
        sql_state: Some("42601".to_owned()),
    })
}
