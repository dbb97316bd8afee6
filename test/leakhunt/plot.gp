# Draws what leakhunt saw: resident memory over time.
#   gnuplot -e "table='dist/leakhunt/memory.tsv'; picture='docs/finding-a-leak.svg'" test/leakhunt/plot.gp
set terminal svg size 800,420 font "sans-serif,13" background rgb "white"
set output picture
set datafile separator tab
set key top left Left reverse
set xlabel "minutes under load"
set ylabel "resident memory, MiB"
set grid ytics lc rgb "#dddddd"
set yrange [0:100]
# A row is a look at one process: seconds, name, RSS in bytes, ...
of(name) = sprintf("< awk -F '\\t' '$2 == \"%s\"' %s", name, table)
plot of("leakvector") using ($1/60):($3/2**20) with lines lw 2 lc rgb "#c0392b" title "leakvector: an answer of ZooKeeper's is not given back", \
     of("leakhandler") using ($1/60):($3/2**20) with lines lw 2 lc rgb "#e67e22" title "leakhandler: a C string is forgotten in each request", \
     of("magellan") using ($1/60):($3/2**20) with lines lw 2 lc rgb "#2c7fb8" title "magellan: neither leak, under both loads"
