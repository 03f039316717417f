#include "btrfs/tool/make/references.h"

namespace karst::btrfs {

Result<void> ExtentReferences::step() {
  more_ = TRY(reader_.next());
  return {};
}

Result<bool> ExtentReferences::next() {
  if (!std::exchange(started_, true)) TRY(step());
  references_.clear();
  if (!more_) return false;
  address_ = overlay<ReferenceKey>(reader_.key())->address;
  length_ = overlay<ReferenceValue>(reader_.value())->length;
  do {
    const auto& key = *overlay<ReferenceKey>(reader_.key());
    const auto& value = *overlay<ReferenceValue>(reader_.value());
    if (key.address != address_) break;
    if (value.length != length_)
      return Error(karst::err::corrupt, "an extent with two lengths")
          .expected(length_, value.length)
          .at("address", address_);
    DataReference use{key.root, key.inode, key.offset, value.count};
    if (!references_.empty()) {
      DataReference& last = references_.back();
      if (std::tie(last.root, last.inode, last.offset) == std::tie(use.root, use.inode, use.offset)) {
        last.count += use.count;
        TRY(step());
        continue;
      }
    }
    references_.push_back(use);
    TRY(step());
  } while (more_);
  return true;
}

}  // namespace karst::btrfs
