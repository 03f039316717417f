#include "btrfs/tool/make/references.h"

namespace karst::btrfs {

static_assert(Spool::piece_size % sizeof(DataReference) == 0, "a use would lie in two pieces");

Result<void> ExtentReferences::step() {
  more_ = TRY(reader_.next());
  return {};
}

Result<bool> ExtentReferences::next() {
  if (!std::exchange(started_, true)) TRY(step());
  kept_.clear();
  rest_.reset();
  count_ = 0;
  if (!more_) return false;
  address_ = overlay<ReferenceKey>(reader_.key())->address;
  length_ = overlay<ReferenceValue>(reader_.value())->length;
  std::optional<DataReference> last;
  do {
    const auto& key = *overlay<ReferenceKey>(reader_.key());
    const auto& value = *overlay<ReferenceValue>(reader_.value());
    if (key.address != address_) break;
    if (value.length != length_)
      return Error(karst::err::corrupt, "an extent with two lengths")
          .expected(length_, value.length)
          .at("address", address_);
    const DataReference use{key.root, key.inode, key.offset, value.count};
    if (last &&
        std::tie(last->root, last->inode, last->offset) == std::tie(use.root, use.inode, use.offset)) {
      last->count += use.count;
    } else {
      if (last) TRY(take(*last));
      last = use;
    }
    TRY(step());
  } while (more_);
  TRY(take(*last));
  return true;
}

Result<void> ExtentReferences::take(const DataReference& use) {
  count_ += use.count;
  if (kept_.size() < options_.kept_max) {
    kept_.push_back(use);
    return {};
  }
  if (!rest_) rest_.emplace(Spool::Options{.directory = options_.temporary_directory, .memory = 0});
  return rest_->append(as_bytes(std::string_view(reinterpret_cast<const char*>(&use), sizeof use)));
}

Result<void> ExtentReferences::for_each(FunctionRef<Result<void>(const DataReference&)> each) const {
  for (const DataReference& use : kept_) TRY(each(use));
  if (!rest_) return {};
  return rest_->for_each([&](Bytes piece) -> Result<void> {
    for (DataReference use; !piece.empty(); piece = piece.subspan(sizeof use)) {
      std::memcpy(&use, piece.data(), sizeof use);
      TRY(each(use));
    }
    return {};
  });
}

}  // namespace karst::btrfs
