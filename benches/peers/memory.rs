//! How much memory a peer takes at most: for one upload, and for 200 at once, each in one request.

use crate::{
    content::Content,
    peer::Peer,
    run::{Load, run},
    table::{Aim, Bound, Cell, Table},
    throughput::scaled,
    upload::Cut,
};

/// What `--scenarios` calls it.
pub(crate) const NAME: &str = "memory";
const MIB: u64 = 1 << 20;

pub(crate) async fn table(peers: &mut [Peer], content: &mut Content, scale: f64) -> Table {
    let (one, many) = (scaled(256 * MIB, scale, 16 * MIB), scaled(4 * MIB, scale, MIB));
    let at_once = scaled(200, scale.min(1.0), 20);
    let title = format!("most memory; one upload of {} MiB, and {at_once} at once of {} MiB", one / MIB, many / MIB);
    let columns = ["MiB with 1 upload".to_owned(), format!("MiB with {at_once} at once")];
    let mut table = Table::new(NAME, title, columns.to_vec());
    for peer in peers {
        let mut cells = Vec::new();
        for (count, bytes) in [(1, one), (at_once, many)] {
            let load = Load { count, at_once: count, cut: Cut { bytes, chunk: bytes, with_creation: false } };
            let first = content.seeds(count);
            match run(peer, content, load, first).await {
                Ok(sample) => {
                    table.noise.add(sample.other, sample.wall);
                    cells.push(Cell::Number(sample.peak as f64 / MIB as f64));
                }
                Err(fault) => {
                    table.faults.push(format!("{}: {fault}", peer.name));
                    cells.push(Cell::Empty);
                }
            }
        }
        table.rows.push((peer.name, cells));
    }
    for (column, wanted) in columns.into_iter().zip([64.0, 128.0]) {
        let figure = table.number("chunkgate", &column);
        table.aims.push(Aim { what: format!("chunkgate: {column}"), bound: Bound::Below(wanted), figure });
    }
    table
}
