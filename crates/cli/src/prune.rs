//! `cowl images prune`: what nobody needs any more.

use super::context::Context;
use super::fail::Fail;
use super::print::{self, Table};
use cowl_api::prune::{Prune, Pruned};

pub(super) async fn run(context: &Context, dry_run: bool) -> Result<(), Fail> {
    let pruned = context.client()?.prune_images(Prune { dry_run }).await?;
    context.show(&pruned, table)
}

fn table(pruned: &Pruned) -> std::io::Result<()> {
    if pruned.images.is_empty() && pruned.kits.is_empty() {
        return print::line("every image and kit is needed");
    }
    let mut table = Table::new(&["KIND", "ID", ">SIZE"]);
    let images = pruned.images.iter().map(|gone| ("image", gone));
    for (kind, gone) in images.chain(pruned.kits.iter().map(|gone| ("kit", gone))) {
        table.row([kind.to_owned(), gone.id.clone(), print::bytes(gone.frees)]);
    }
    table.print()?;
    let verb = if pruned.dry_run { "would free" } else { "frees" };
    print::line(&format!("{verb} at most {}", print::bytes(pruned.frees)))
}
