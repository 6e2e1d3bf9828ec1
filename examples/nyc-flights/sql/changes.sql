-- What happens after the first delivery: late flights for a delivered month, and weather that was measured again.

insert into flights
select 400000 + row_number() over (order by flight_id), carrier, flight_number, tailnum, origin, dest, scheduled_hour,
       sched_dep_time, dep_time, dep_delay, sched_arr_time, arr_time, arr_delay, air_time, distance
from flights
where scheduled_hour >= '2013-03-10' and scheduled_hour < '2013-03-11' and carrier in ('UA', 'DL') and origin = 'EWR';

update weather set wind_gust = null
where origin = 'JFK' and time_hour >= '2013-07-01' and time_hour < '2013-07-03' and wind_gust is not null;

update weather set temp = temp + 0.5
where origin = 'LGA' and time_hour >= '2013-02-08' and time_hour < '2013-02-09';
