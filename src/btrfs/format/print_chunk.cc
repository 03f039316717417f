#include "btrfs/format/item_functions.h"
#include "btrfs/format/print_item.h"

namespace karst::btrfs {

void print_chunk(Bytes item, Facts& facts) {
  const auto* chunk = overlay<Chunk>(item);
  if (!chunk || !slice(item, sizeof(Chunk), uint64_t{chunk->num_stripes} * sizeof(Stripe))) {
    facts.print("\t\tchunk item invalid\n");
    facts.also(fact("invalid", std::string_view("chunk item invalid")));
    return;
  }
  facts.print("\t\tlength {} owner {} stripe_len {} type {}\n", fact("length", chunk->length),
              fact("owner", chunk->owner), fact("stripe_len", chunk->stripe_len),
              fact("type_name", block_group_flags_text(chunk->type)));
  facts.also(fact("type", chunk->type));
  facts.print("\t\tio_align {} io_width {} sector_size {}\n", fact("io_align", chunk->io_align),
              fact("io_width", chunk->io_width), fact("sector_size", chunk->sector_size));
  facts.print("\t\tnum_stripes {} sub_stripes {}\n", fact("num_stripes", chunk->num_stripes),
              fact("sub_stripes", chunk->sub_stripes));
  facts.array("stripes");
  for (uint16_t i = 0; i < chunk->num_stripes; ++i) {
    const auto& stripe = *overlay<Stripe>(item, sizeof(Chunk) + i * sizeof(Stripe));
    Facts out = facts.element("stripes");
    out.print("\t\t\tstripe {} devid {} offset {}\n", i, fact("devid", stripe.devid),
              fact("offset", stripe.offset));
    out.print("\t\t\tdev_uuid {}\n", fact("dev_uuid", stripe.dev_uuid));
  }
}

void print_chunk_item(const ItemView& item, Facts& facts) { print_chunk(item.data, facts); }

}  // namespace karst::btrfs
