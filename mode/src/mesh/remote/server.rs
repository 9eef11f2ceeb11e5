//! An expert's owner at work: it answers one model (`client.rs`), whose process is device 0, this one's 1.

use super::message::Question;
use crate::Error;
use crate::mesh::transport::Transport;
use crate::model::ServedExpert;
use std::sync::Arc;

/// Who asks.
const CALLER: usize = 0;

/// Answers until the caller asks nothing more; how many questions it has asked. Nothing is kept for the next one.
///
/// # Errors
/// A caller that is gone, silent or asks for what can't be, or what the device reports.
pub fn answer(served: &mut ServedExpert, transport: &mut dyn Transport) -> Result<u64, Error> {
    let answered = answer_all(served, transport);
    served.forget_all();
    answered
}

fn answer_all(served: &mut ServedExpert, transport: &mut dyn Transport) -> Result<u64, Error> {
    let mut count = 0;
    loop {
        let message = transport.receive(CALLER)?;
        if message.is_empty() {
            return Ok(count);
        }
        let no_question = || Error::Peer { device: "the caller".into(), what: "has asked no question".into() };
        let Question { number, block, length, over, chunks, x } =
            Question::from_message(&message).ok_or_else(no_question)?;
        over.into_iter().for_each(|sequence| served.forget(sequence));
        let f = match chunks.as_slice() {
            [] => served.windows(block, &x, length)?,
            chunks => served.chunks(block, &x, chunks)?,
        };
        let answer = std::iter::once(number as f32).chain(f).collect();
        transport.send(CALLER, Arc::new(answer))?;
        count += 1;
    }
}
