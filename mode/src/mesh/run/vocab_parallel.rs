//! A device's words: its rows of the embedding and of the head, and the loss that devices along the tensor axis find together.
//!
//! Each embeds the tokens that are its words, x `[tokens, width]` with zeros for others, which an all-reduce sums. Of the logits `[tokens,
//! vocabulary]` each has its columns; what all have to know of a row, four numbers of each device, is gathered (`cross_entropy_part`).

use super::batch::StepBatch;
use super::rank::{Rank, needed};
use crate::Error;
use crate::data::shifted;
use crate::mesh::plan::{Entry, share};
use mode_tensor::{
    Ids, Joined, Product, Target, Tensor, add, cross_entropy_part, cross_entropy_part_gradient, embedding,
    embedding_backward, join_parts, matmul_into,
};
use std::ops::Range;

impl Rank {
    /// The windows of this device in a microbatch.
    fn windows(&self, microbatch: usize, batch: &StepBatch) -> Range<usize> {
        let [position, count] = self.data;
        let of_microbatch = share(batch.windows.len(), self.microbatches, microbatch);
        let own = share(of_microbatch.len(), count, position);
        of_microbatch.start + own.start..of_microbatch.start + own.end
    }

    /// Their inputs and targets.
    fn ids(&self, microbatch: usize, batch: &StepBatch) -> (Vec<u32>, Vec<u32>) {
        shifted(&batch.windows[self.windows(microbatch, batch)])
    }

    /// Rows of the embedding whose words are on this device, zeros for the others; the first device adds learned positions.
    pub(super) fn embed(&self, microbatch: usize, batch: &StepBatch) -> Result<Tensor, Error> {
        let (ids, _) = self.ids(microbatch, batch);
        let Some(backbone) = &self.shard.backbone else { return needed(None, "embedding") };
        let (config, table) = (&self.shard.config, backbone.embedding.value());
        let x = Tensor::full(&self.device, &[ids.len(), config.width], 0.0)?;
        let here = |id: u32| (id as usize).checked_sub(self.offset).filter(|&row| row < table.rows());
        let (tokens, rows): (Vec<u32>, Vec<u32>) =
            (0u32..).zip(&ids).filter_map(|(token, &id)| Some((token, here(id)? as u32))).unzip();
        if !tokens.is_empty() {
            let found = embedding(&Ids::new(&self.device, &rows)?, &table)?;
            let found = mode_tensor::scale(&found, config.embedding_factor as f32)?;
            // A scatter is what it is: each found row is added to its token's, which is zero.
            embedding_backward(&Ids::new(&self.device, &tokens)?, None, &found, &x)?;
        }
        if let Some(table) = backbone.positions.as_ref().filter(|_| self.shard.position == 0) {
            let positions: Vec<u32> = (0..ids.len()).map(|i| (i % self.length) as u32).collect();
            return Ok(add(&x, &embedding(&Ids::new(&self.device, &positions)?, &table.value())?, None)?);
        }
        Ok(x)
    }

    /// This device's words of some tokens' logits, and what is to be known of them elsewhere.
    pub(super) fn logits(
        &mut self,
        entry: &Entry,
        batch: &StepBatch,
        first: usize,
        rows: usize,
    ) -> Result<Tensor, Error> {
        let h = self.read(entry, 0)?.rows_from(first, rows)?;
        let (_, targets) = self.ids(entry.microbatch, batch);
        let targets = Ids::new(&self.device, &targets[first..first + rows])?;
        let head = self.head()?;
        let logits = matmul_into(Product::new(&h, &head).transpose_b(), Target::New)?;
        let stats = Tensor::empty(&self.device, &[rows, 4])?;
        cross_entropy_part(&logits, &targets, 0, self.offset, self.cap(), &stats)?;
        self.step.logits = Some((logits, targets));
        Ok(stats)
    }

    /// From what all devices know of some tokens' logits to rows of dh: this device's term.
    pub(super) fn loss_gradient(&mut self, entry: &Entry, first: usize, rows: usize) -> Result<(), Error> {
        let (h, stats) = (self.read(entry, 0)?, self.read(entry, 1)?.to_vec()?);
        let (logits, targets) = needed(self.step.logits.take(), entry)?;
        let joined = joined(&stats, rows);
        self.step.loss[0] += joined.nll.iter().map(|&nll| f64::from(nll)).sum::<f64>();
        self.step.loss[1] += rows as f64;
        // The mean is over all tokens of all parts and devices.
        let share = rows as f32 / (h.rows() * self.data[1] * self.microbatches) as f32;
        let lse = Tensor::from_slice(&self.device, &joined.lse, &[rows])?;
        let dloss = Tensor::from_slice(&self.device, &[share], &[1])?;
        cross_entropy_part_gradient(&logits, &targets, 0, self.offset, self.cap(), &lse, &dloss)?;
        let dh = self.room(entry.writes[0], [h.rows(), h.width()])?;
        let head = self.head()?;
        matmul_into(Product::new(&logits, &head), Target::Overwrite(&dh.rows_from(first, rows)?))?;
        Ok(())
    }

    /// From what all devices know of some tokens' logits to their loss, of those windows that count.
    pub(super) fn score(&mut self, entry: &Entry, batch: &StepBatch, first: usize, rows: usize) -> Result<(), Error> {
        let joined = joined(&self.read(entry, 0)?.to_vec()?, rows);
        self.step.logits = None;
        let counted = batch.counted.saturating_sub(self.windows(entry.microbatch, batch).start) * self.length;
        let nll = &joined.nll[..counted.saturating_sub(first).min(rows)];
        self.step.loss[0] += nll.iter().map(|&nll| f64::from(nll)).sum::<f64>();
        self.step.loss[1] += nll.len() as f64;
        Ok(())
    }

    /// This device's words of the head.
    fn head(&self) -> Result<Tensor, Error> {
        let backbone = needed(self.shard.backbone.as_ref(), "head")?;
        Ok(backbone.head.as_ref().unwrap_or(&backbone.embedding).value())
    }

    fn cap(&self) -> Option<f32> {
        self.shard.config.logit_cap.map(|cap| cap as f32)
    }
}

/// What all devices along the tensor axis know of some tokens' logits, put together.
fn joined(stats: &[f32], rows: usize) -> Joined {
    let parts: Vec<Vec<f32>> = stats.chunks(4 * rows).map(<[f32]>::to_vec).collect();
    join_parts(&parts)
}
