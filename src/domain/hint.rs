//! What somebody may have meant by a name that there is not.

/// `: did you mean `title`?`, or nothing where no name is near.
pub(super) fn did_you_mean<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> String {
    let near = known.into_iter().map(|known| (distance(name, known), known)).min();
    let most = (name.chars().count() + 1) / 3;
    near.filter(|(distance, _)| *distance <= most)
        .map_or_else(String::new, |(_, known)| format!(": did you mean `{known}`?"))
}

/// How many letters have to be put in, left out or changed, in either case of letters.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (position, letter) in from.to_lowercase().chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], position + 1);
        for (column, other) in to.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_what_was_meant_and_a_far_one_is_not() {
        assert_eq!(did_you_mean("titel", ["end", "title"]), ": did you mean `title`?");
        assert_eq!(did_you_mean("externalCount", ["external_count"]), ": did you mean `external_count`?");
        assert_eq!(did_you_mean("colour", ["end", "title"]), "");
        assert_eq!((distance("kitten", "sitting"), distance("", "abc"), distance("abc", "")), (3, 3, 3));
    }
}
