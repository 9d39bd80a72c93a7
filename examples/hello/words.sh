# words.sh TEXT OUT: each word with how often it occurs, most frequent first.
tr -cs "[:alpha:]'" '\n' < "$1" | tr '[:upper:]' '[:lower:]' | sed '/^$/d' | sort | uniq -c | sort -k1,1nr -k2 > "$2"
