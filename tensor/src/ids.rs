//! Token ids on a device, with a copy in main memory: what is asked of them (range, order) is asked there.

use crate::{Device, TensorError};
use mode_kernels::View;

/// Token ids `[tokens]`.
#[derive(Clone)]
pub struct Ids {
    host: std::sync::Arc<Vec<u32>>,
    view: View,
}

impl Ids {
    /// Copies ids to a device.
    ///
    /// # Errors
    /// A device without room.
    pub fn new(device: &Device, ids: &[u32]) -> Result<Self, TensorError> {
        let view = View::whole(device.alloc(ids.len())?);
        device.write_ids(&view, ids)?;
        Ok(Self { host: std::sync::Arc::new(ids.to_vec()), view })
    }

    /// The ids.
    pub fn host(&self) -> &[u32] {
        &self.host
    }

    /// Number of ids.
    pub fn len(&self) -> usize {
        self.host.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.host.is_empty()
    }

    /// The device they live on.
    pub fn device(&self) -> &Device {
        self.view.buffer.device()
    }

    pub(crate) fn view(&self) -> &View {
        &self.view
    }

    /// An error unless every id is a row of a table of `rows`.
    ///
    /// # Errors
    /// The first id that is not.
    pub fn check_range(&self, rows: usize) -> Result<(), TensorError> {
        match self.host.iter().find(|&&id| id as usize >= rows) {
            Some(&id) => Err(TensorError::Id { id, rows }),
            None => Ok(()),
        }
    }
}
