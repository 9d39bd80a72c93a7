# records.sh NAME TEXT OUT: each line of a text as a JSON record.
sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e "s/^\(.*\)\$/{\"source\": \"$1\", \"text\": \"\1\"}/" "$2" > "$3"
