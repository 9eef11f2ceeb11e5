//! A schedule without devices: its entries priced from first principles (`cost.rs`, `priced.rs`), simulated on hardware that is known by its
//! rates (`simulator.rs`, `hardware.rs`), layouts searched for the best (`search.rs`), a step as a picture (`timeline.rs`, of one that was
//! simulated or taken: `traced.rs`), and the paper's model on the paper's chips (`paper/`).

mod cost;
mod hardware;
pub mod paper;
mod priced;
mod search;
mod simulator;
mod timeline;
mod traced;

pub use cost::{Attention, Cost, costs};
pub use hardware::{Hardware, Host, LinkRate, Rates};
pub use priced::{Assumed, Priced};
pub use search::{Prediction, layouts, predict};
pub use simulator::seconds;
pub use timeline::{bytes_by_link, timeline};
pub use traced::Traced;
